// Log lines of every process as they come, filtered here.

import { useRef, useState } from 'preact/hooks';
import * as api from '../api.ts';
import { plain } from '../format.ts';
import { useFeed, useLoad, useRedraw } from '../live.ts';
import { LEVELS, type Line, Lines, passes, type Wanted } from '../loglines.ts';
import { Badge, Empty, Head, Time } from '../pieces.tsx';
import { go, link } from '../router.ts';
import { may } from '../session.ts';
import type { LogLine } from '../types.ts';

const TAIL = 500;

export function LogView({ query }: { query: Record<string, string> }) {
  const lines = useRef(new Lines()).current;
  const [held, setHeld] = useState<readonly Line[] | null>(null);
  const redraw = useRedraw();
  const allowed = may('operator');
  useFeed(allowed ? { topics: ['logs'], tail: TAIL } : null, (items) => {
    for (const item of items) lines.add(item.seq, item.data as LogLine);
    redraw();
  });
  const modules = useLoad(api.modules, [], 10_000);
  const wanted: Wanted = {
    instance: query.instance ?? '',
    function: query.function ?? '',
    job: query.job ?? '',
    level: query.level ?? '',
  };
  const change = (name: keyof Wanted, value: string) =>
    go(link('log', '', { ...query, [name]: value.trim() }), { replace: true });
  const functionOf = new Map((modules.data ?? []).map((one) => [one.instance, one.function ?? '']));
  const all = held ?? lines.all;
  const shown = all.filter((line) => passes(line, wanted, functionOf));
  const functions = [...new Set([...functionOf.values(), wanted.function])].filter(Boolean).sort();
  const instances = [...functionOf.keys()].sort();

  return (
    <>
      <Head title="Log">
        <button type="button" aria-pressed={held !== null} onClick={() => setHeld(held ? null : [...lines.all])}>
          {held ? 'Go on' : 'Hold'}
        </button>
      </Head>
      <div class="filters">
        <label>
          Instance
          <input
            type="search"
            list="instances"
            value={wanted.instance}
            placeholder="all"
            onInput={(event) => change('instance', event.currentTarget.value)}
          />
          <datalist id="instances">
            {instances.map((one) => (
              <option key={one} value={one} />
            ))}
          </datalist>
        </label>
        <label>
          Function
          <select value={wanted.function} onChange={(event) => change('function', event.currentTarget.value)}>
            <option value="">all</option>
            {functions.map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
        <label>
          Job
          <input
            type="search"
            value={wanted.job}
            placeholder="all"
            onInput={(event) => change('job', event.currentTarget.value)}
          />
        </label>
        <label>
          Level
          <select value={wanted.level} onChange={(event) => change('level', event.currentTarget.value)}>
            <option value="">all</option>
            {LEVELS.slice(1).map((level) => (
              <option key={level} value={level}>
                {level} and above
              </option>
            ))}
          </select>
        </label>
      </div>
      {!shown.length && (
        <Empty>
          {!allowed
            ? 'Log lines tell of everybody\u2019s work: reading them needs the role operator.'
            : all.length
              ? 'No line fits these filters.'
              : 'No line yet; they appear here as they come.'}
        </Empty>
      )}
      <ol class="log lines" aria-label="log lines, newest first">
        {shown.map((line) => (
          <Entry key={line.seq} line={line.told} />
        ))}
      </ol>
    </>
  );
}

function Entry({ line }: { line: LogLine }) {
  const job = typeof line.fields.job === 'string' ? line.fields.job : null;
  return (
    <li class={line.level}>
      <Time at={line.at} /> <Badge word={line.level} /> <span class="mono instance">{line.instance}</span>{' '}
      <b>{line.event}</b>{' '}
      {Object.entries(line.fields).filter(([, value]) => value !== '' && value !== null).map(([name, value]) => (
        <span key={name} class="pair">
          <span class="muted">{name}</span>{' '}
          {name === 'job' && job ? <a href={link('jobs', job)}>{job}</a> : plain(value)}
        </span>
      ))}
    </li>
  );
}
