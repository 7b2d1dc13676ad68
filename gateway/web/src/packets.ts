// What a chart shows of a job: from its progress events while it runs, from its report afterwards.

import type { Fields, Json, Progress, Result } from './types.ts';

export interface Point {
  x: number;
  /** Null: no answer. */
  rtt: number | null;
  late: boolean;
}

const NO_ANSWER = new Set(['timeout', 'lost', 'error', 'unreachable']);

/** Progress of one job. A retry begins anew at n 0, on this instance or on another one: only the newest run counts. */
export class Run {
  readonly events: Progress[] = [];
  private instance = '';

  take(progress: Progress): void {
    const last = this.events.at(-1);
    if (progress.instance !== this.instance || (last && progress.n <= last.n)) {
      this.events.length = 0;
      this.instance = progress.instance;
    }
    this.events.push(progress);
  }
}

export function kindOf(event: Fields): string {
  const found = event.kind ?? event.event ?? event.type;
  return typeof found === 'string' ? found : '';
}

/** Points by packet: the first answer counts, as in the report; duplicates do not. */
export function pointsOf(events: readonly Progress[]): Point[] {
  const found = new Map<number, Point>();
  for (const { event, n } of events) {
    const x = position(event, n);
    const rtt = number(event.rtt_ns);
    const kind = kindOf(event);
    if (rtt !== null && !found.get(x)?.rtt && kind !== 'duplicate') found.set(x, { x, rtt, late: kind === 'late' });
    else if (rtt === null && NO_ANSWER.has(kind) && !found.has(x)) found.set(x, { x, rtt: null, late: false });
  }
  return sorted([...found.values()]);
}

/** Points of a report that lists its packets. */
export function pointsOfResult(result: Result | null): Point[] {
  const packets = result?.data?.packets;
  if (!Array.isArray(packets)) return [];
  const rows = packets.filter(isFields);
  if (!rows.some((row) => 'rtt_ns' in row)) return [];
  return sorted(
    rows.map((row, n) => ({ x: position(row, n), rtt: number(row.rtt_ns), late: row.late === true })),
  );
}

function position(row: Fields, fallback: number): number {
  return number(row.seq) ?? number(row.hop) ?? number(row.ttl) ?? fallback;
}

function sorted(points: Point[]): Point[] {
  return points.sort((one, other) => one.x - other.x);
}

function number(value: Json | undefined): number | null {
  return typeof value === 'number' ? value : null;
}

export function isFields(value: Json | undefined): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
