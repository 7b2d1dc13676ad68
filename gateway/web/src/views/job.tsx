// One job: its steps, its packets as they come, and in the end its result.

import { useEffect, useRef, useState } from 'preact/hooks';
import * as api from '../api.ts';
import { type Problem, toProblem } from '../api.ts';
import { Chart } from '../chart.tsx';
import { between, duration, named } from '../format.ts';
import { useFeed, useLoad, useRedraw } from '../live.ts';
import { kindOf, pointsOf, pointsOfResult, Run } from '../packets.ts';
import { Badge, Empty, Head, needs, Time, Trouble } from '../pieces.tsx';
import { go, link } from '../router.ts';
import type { Item, JobEvent, JobRequest, Progress, Result } from '../types.ts';
import { ResultBlock } from './result.tsx';

const MOST_LISTED = 200;
const LOOK_EVERY_MS = 10_000;

export function JobView({ id }: { id: string }) {
  return (
    <>
      <Head
        title={
          <>
            Job <code class="id">{id}</code>
          </>
        }
      >
        <a class="button" href={link('jobs')}>
          All jobs
        </a>
      </Head>
      <JobPanel id={id} />
    </>
  );
}

/** What the feed has told of a job; kept outside of the state, since packets come by the hundred. */
class Told {
  readonly run = new Run();
  readonly events = new Map<string, JobEvent>();
  result: Result | null = null;

  take(item: Item): void {
    if (item.topic === 'progress') this.run.take(item.data as Progress);
    if (item.topic === 'events') this.step(item.data as JobEvent);
    if (item.topic === 'results') this.result = item.data as Result;
  }

  step(event: JobEvent): void {
    this.events.set(`${event.at} ${event.event}`, event);
  }
}

/** `show`: bring it into view, since the button that started it may be below it, or above on a narrow screen. */
export function JobPanel({ id, show = false }: { id: string; show?: boolean }) {
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    const top = box.current?.getBoundingClientRect().top ?? 0;
    if (show && (top < 0 || top > innerHeight / 2)) box.current?.scrollIntoView({ block: 'start' });
  }, []);
  const told = useRef(new Told()).current;
  const redraw = useRedraw();
  const over = told.result !== null;
  // The API has what the feed has forgotten, and stands in while the feed is not connected.
  const { data, problem } = useLoad(() => api.job(id), [id, over], over ? 0 : LOOK_EVERY_MS);
  useEffect(() => {
    for (const event of data?.events ?? []) told.step(event);
    told.result ??= data?.result ?? null;
    redraw();
  }, [data]);
  useFeed({ topics: ['events', 'progress', 'results'], job: id }, (items) => {
    for (const item of items) told.take(item);
    redraw();
  }, id);

  const { result } = told;
  const events = [...told.events.values()].sort((one, other) => one.at.localeCompare(other.at));
  const request = data?.request ?? null;
  const state = result ? endOf(result) : (data?.job.state ?? stateOf(events));
  return (
    <section ref={box} class="job" aria-label={`job ${id}`} data-state={state}>
      {!result && <Trouble problem={problem} />}
      <Timeline events={events} result={result} running={!result} />
      <Packets run={told.run} result={result} request={request} />
      {result && <ResultBlock result={result} />}
      {request && <Actions id={id} request={request} over={over} beside={show} />}
    </section>
  );
}

function endOf(result: Result): string {
  const code = result.failure?.code;
  return code === 'expired' || code === 'cancelled' ? code : 'finished';
}

function stateOf(events: JobEvent[]): string {
  const last = events.at(-1)?.event;
  return last === undefined || last === 'accepted' ? 'queued' : last === 'dispatched' ? 'running' : last;
}

function Timeline({ events, result, running }: { events: JobEvent[]; result: Result | null; running: boolean }) {
  const start = events[0]?.at;
  if (!events.length) return <Empty>{result ? 'The steps of this job are not kept any more.' : 'Waiting …'}</Empty>;
  return (
    <ol class="timeline" aria-label="steps of the job">
      {events.map((event) => (
        <li key={`${event.at} ${event.event}`}>
          <Badge word={event.event} />
          <span class="when" title={event.at}>
            {event.at === start ? <Time at={event.at} /> : `+${duration(between(start, event.at))}`}
          </span>
          {event.instance && event.event !== 'finished' && <span class="mono">{event.instance}</span>}
          {event.attempt > 1 && <span class="muted">attempt {event.attempt}</span>}
          {event.reason && <span class="muted">{event.reason}</span>}
        </li>
      ))}
      {running && (
        <li class="pending" role="status">
          <span class="spinner" aria-hidden="true" /> {stateOf(events) === 'running' ? 'running' : 'waiting'}
        </li>
      )}
    </ol>
  );
}

function Packets({ run, result, request }: { run: Run; result: Result | null; request: JobRequest | null }) {
  const live = pointsOf(run.events);
  const points = live.length ? live : pointsOfResult(result);
  const count = (result?.params ?? request?.params)?.count;
  const expected = typeof count === 'number' && !result?.failure ? count : undefined;
  return (
    <>
      {points.length > 0 && <Chart points={points} expected={expected} />}
      {run.events.length > 0 && (
        <details class="events" open={!points.length}>
          <summary>
            {run.events.length} {run.events.length === 1 ? 'event' : 'events'} while it ran
          </summary>
          <EventList events={run.events} />
        </details>
      )}
    </>
  );
}

function EventList({ events }: { events: readonly Progress[] }) {
  const shown = events.slice(-MOST_LISTED);
  return (
    <ol class="log" aria-label="progress events">
      {events.length > shown.length && <li class="muted">the newest {shown.length}</li>}
      {shown.map((one) => (
        <li key={one.n}>
          <Time at={one.at} /> <b>{kindOf(one.event)}</b> {textOf(one)}
        </li>
      ))}
    </ol>
  );
}

function textOf({ event }: Progress): string {
  const kind = kindOf(event);
  return Object.entries(event)
    .filter(([, value]) => value !== kind)
    .map((pair) => named(...pair).join(' '))
    .join(', ');
}

interface ActionsProps {
  id: string;
  request: JobRequest;
  over: boolean;
  /** The form it came from is beside it. */
  beside: boolean;
}

function Actions({ id, request, over, beside }: ActionsProps) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [asked, setAsked] = useState(false);
  const off = needs('operator');

  async function again(): Promise<void> {
    try {
      const receipt = await api.submit(request);
      go(link('run', request.function, { job: receipt.job }));
    } catch (error) {
      setProblem(toProblem(error));
    }
  }

  /** What comes of it is told by the feed, as to everybody who looks. */
  async function cancel(): Promise<void> {
    setAsked(true);
    try {
      await api.cancel(id);
      setProblem(null);
    } catch (error) {
      setAsked(false);
      setProblem(toProblem(error));
    }
  }

  return (
    <>
      <div class="actions">
        {over ? (
          <button type="button" {...off} onClick={() => void again()}>
            Run again
          </button>
        ) : (
          <button type="button" {...off} disabled={asked || off.disabled} onClick={() => void cancel()}>
            Cancel
          </button>
        )}
        {!beside && (
          <a class="button" href={link('run', request.function, { from: id })}>
            Change and run
          </a>
        )}
        <a class="button" href={link('log', '', { job: id })}>
          Its log
        </a>
        {beside && (
          <a class="button" href={link('jobs', id)}>
            Only this job
          </a>
        )}
      </div>
      <Trouble problem={problem} title={over ? 'Not accepted' : 'Not cancelled'} />
    </>
  );
}
