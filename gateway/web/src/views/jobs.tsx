// Jobs, newest first; the filters are in the address, so that a list can be linked to.

import { useEffect, useRef, useState } from 'preact/hooks';
import * as api from '../api.ts';
import { toProblem, type Problem } from '../api.ts';
import { between, duration, moment } from '../format.ts';
import { useFeed, useLoad } from '../live.ts';
import { Badge, Empty, Head, Trouble } from '../pieces.tsx';
import { go, link } from '../router.ts';
import type { JobPage, JobRow } from '../types.ts';

const STATES = ['queued', 'running', 'finished', 'expired', 'cancelled'];
const GATHER_MS = 400;

export function JobsView({ query }: { query: Record<string, string> }) {
  const { function: name = '', state = '' } = query;
  const functions = useLoad(api.functions);
  const page = useLoad(() => api.jobs({ function: name, state, limit: '50' }), [name, state]);
  const waiting = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(waiting.current), []);
  useFeed({ topics: ['events'], ...(name ? { function: name } : {}) }, () => {
    // Under load events never pause, so the wait is not begun anew by each.
    waiting.current ??= setTimeout(() => {
      waiting.current = undefined;
      page.reload();
    }, GATHER_MS);
  }, name);
  const choose = (change: Record<string, string>) => go(link('jobs', '', { ...query, ...change }), { replace: true });
  const known = new Set([...(functions.data ?? []).map((one) => one.name), ...(name ? [name] : [])]);
  return (
    <>
      <Head title="Jobs">
        <label class="inline">
          Function
          <select value={name} onChange={(event) => choose({ function: event.currentTarget.value })}>
            <option value="">all</option>
            {[...known].sort().map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
        <label class="inline">
          State
          <select value={state} onChange={(event) => choose({ state: event.currentTarget.value })}>
            <option value="">all</option>
            {STATES.map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
      </Head>
      <Trouble problem={page.problem} />
      {page.data && !page.data.jobs.length && <Empty>No job fits.</Empty>}
      {page.data && page.data.jobs.length > 0 && (
        <List key={`${name} ${state}`} first={page.data} wanted={{ function: name, state }} />
      )}
    </>
  );
}

/** The newest page follows the feed; older ones are added below on demand. */
function List({ first, wanted }: { first: JobPage; wanted: Record<string, string> }) {
  const [older, setOlder] = useState<JobRow[]>([]);
  const [after, setAfter] = useState<string | null | undefined>(undefined);
  const [problem, setProblem] = useState<Problem | null>(null);
  const next = after === undefined ? first.after : after;

  async function more(): Promise<void> {
    try {
      const page = await api.jobs({ ...wanted, limit: '50', after: next ?? '' });
      setOlder((before) => [...before, ...page.jobs]);
      setAfter(page.after);
    } catch (error) {
      setProblem(toProblem(error));
    }
  }

  const newest = new Set(first.jobs.map((job) => job.id));
  const rows = [...first.jobs, ...older.filter((job) => !newest.has(job.id))];
  return (
    <>
      <div class="scroll">
        <table class="cards">
          <thead>
            <tr>
              <th>Accepted</th>
              <th>Function</th>
              <th>State</th>
              <th>Outcome</th>
              <th>Node</th>
              <th class="number">Took</th>
              <th>Class</th>
              <th>By</th>
              <th>Job</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((job) => (
              <Row key={job.id} job={job} />
            ))}
          </tbody>
        </table>
      </div>
      <Trouble problem={problem} />
      {next && (
        <button type="button" onClick={() => void more()}>
          Older jobs
        </button>
      )}
    </>
  );
}

function Row({ job }: { job: JobRow }) {
  const to = link('jobs', job.id);
  return (
    <tr class="pick" onClick={() => go(to)}>
      <td data-label="Accepted">{moment(job.accepted)}</td>
      <td data-label="Function">{job.function}</td>
      <td data-label="State">
        <Badge word={job.state} />
      </td>
      <td data-label="Outcome">
        {job.failure ? <Badge word={job.failure} tone="warn" /> : job.state === 'finished' ? 'success' : job.reason || '–'}
      </td>
      <td data-label="Node">{job.node ?? job.place ?? '–'}</td>
      <td data-label="Took" class="number">
        {duration(between(job.accepted, job.ended))}
      </td>
      <td data-label="Class">{job.class ?? '–'}</td>
      <td data-label="By">{job.client || '–'}</td>
      <td data-label="Job">
        <a class="mono" href={to} title={job.id}>
          …{job.id.slice(-12)}
        </a>
      </td>
    </tr>
  );
}
