// Round-trip time by packet, drawn as packets come.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { duration } from './format.ts';
import type { Point } from './packets.ts';

interface Props {
  points: Point[];
  /** How many packets are to come in all, when that is known: the axis does not move then. */
  expected?: number | undefined;
}

const HEIGHT = 220;

export function Chart({ points, expected }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const lost = useRef<number[]>([]);
  lost.current = points.filter((point) => point.rtt === null).map((point) => point.x);
  const total = useRef(expected);
  total.current = expected;

  useEffect(() => {
    const place = box.current;
    if (!place) return undefined;
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const draw = () => {
      plot.current?.destroy();
      plot.current = made(place, () => lost.current, () => total.current);
      plot.current.setData(columns(points));
    };
    draw();
    dark.addEventListener('change', draw);
    const watcher = new ResizeObserver(() => plot.current?.setSize({ width: place.clientWidth, height: HEIGHT }));
    watcher.observe(place);
    return () => {
      dark.removeEventListener('change', draw);
      watcher.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  const drawn = `${points.length} ${points.at(-1)?.x} ${points.at(-1)?.rtt} ${lost.current.length} ${expected}`;
  useEffect(() => plot.current?.setData(columns(points)), [drawn]);

  return (
    <figure class="chart">
      <figcaption>
        Round-trip time by packet
        {lost.current.length > 0 && <span class="lost">{lost.current.length} without an answer</span>}
      </figcaption>
      <div ref={box} role="img" aria-label={summary(points)} data-points={points.length} />
    </figure>
  );
}

/** What the drawing shows, for those who cannot see it. */
function summary(points: Point[]): string {
  const answered = points.flatMap((point) => (point.rtt === null ? [] : [point.rtt]));
  if (!answered.length) return `${points.length} packets, none answered`;
  const range = `${duration(Math.min(...answered))} to ${duration(Math.max(...answered))}`;
  return `${points.length} packets, ${answered.length} answered, round-trip time ${range}`;
}

function columns(points: Point[]): uPlot.AlignedData {
  return [
    points.map((point) => point.x),
    points.map((point) => (point.late ? null : point.rtt)),
    points.map((point) => (point.late ? point.rtt : null)),
  ];
}

function made(place: HTMLElement, lost: () => number[], expected: () => number | undefined): uPlot {
  const style = getComputedStyle(place);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const font = `12px ${style.fontFamily}`;
  const axis: uPlot.Axis = {
    stroke: colour('muted'),
    font,
    grid: { stroke: colour('line'), width: 1 },
    ticks: { show: false },
  };
  const options: uPlot.Options = {
    width: place.clientWidth,
    height: HEIGHT,
    cursor: { drag: { x: false, y: false } },
    scales: {
      x: {
        time: false,
        range: (_, low, high) => [Math.min(low ?? 0, 0) - 0.5, Math.max(high ?? 0, (expected() ?? 1) - 1) + 0.5],
      },
      y: { range: (_, low, high) => spread(low, high) },
    },
    series: [
      { label: 'packet', value: (_, value) => (value === null ? '–' : String(value)) },
      {
        label: 'round trip',
        stroke: colour('accent'),
        width: 2,
        points: { show: true, size: 6, fill: colour('accent') },
        value: (_, value) => duration(value),
        spanGaps: false,
      },
      {
        label: 'late',
        stroke: colour('warn'),
        paths: () => null,
        points: { show: true, size: 7, fill: colour('warn') },
        value: (_, value) => duration(value),
      },
    ],
    axes: [
      // Between two packets there is nothing.
      { ...axis, size: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
      { ...axis, size: 70, values: (_, ticks) => ticks.map((tick) => duration(tick)) },
    ],
    hooks: { drawAxes: [(drawn) => marks(drawn, lost(), colour('bad'))] },
  };
  return new uPlot(options, [[], [], []], place);
}

/** From zero, so that a small variation does not look like a large one. */
function spread(_low: number | null, high: number | null): [number, number] {
  return [0, (high ?? 0) > 0 ? (high ?? 0) * 1.15 : 1e6];
}

function marks(drawn: uPlot, lost: number[], colour: string): void {
  const { ctx, bbox } = drawn;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.globalAlpha = 0.55;
  ctx.lineWidth = Math.max(2, Math.min(6, bbox.width / 400));
  for (const x of lost) {
    const at = Math.round(drawn.valToPos(x, 'x', true));
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
