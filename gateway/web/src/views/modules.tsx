// Everything that runs in the network, with its health of this second.

import { useEffect, useRef, useState } from 'preact/hooks';
import * as api from '../api.ts';
import { bytes, duration, labels } from '../format.ts';
import { useFeed, useLoad, useNow } from '../live.ts';
import { Badge, Empty, Head, Trouble } from '../pieces.tsx';
import { Registry } from '../registry.ts';
import { link } from '../router.ts';
import type { Module } from '../types.ts';

const COMPARE_EVERY_MS = 20_000;
const DRAW_EVERY_MS = 500;

export function ModulesView() {
  const registry = useRef(new Registry()).current;
  const [wanted, setWanted] = useState('');
  const { data, problem } = useLoad(api.modules, [], COMPARE_EVERY_MS);
  // A beat a second of each instance: drawn twice a second, however many there are.
  const now = useNow(DRAW_EVERY_MS);
  useEffect(() => {
    if (data) registry.load(data, performance.now());
  }, [data]);
  useFeed({ topics: ['health', 'modules'] }, (items) => {
    for (const item of items) registry.take(item, performance.now());
  });
  const all = registry.list(now);
  const shown = all.filter((module) => fits(module, wanted));
  const up = all.filter((module) => module.state === 'up').length;

  return (
    <>
      <Head title="Modules">
        <span class="muted">
          {up} of {all.length} up
        </span>
        <label class="inline">
          Filter
          <input
            type="search"
            value={wanted}
            placeholder="node, function, label …"
            onInput={(event) => setWanted(event.currentTarget.value)}
          />
        </label>
      </Head>
      <Trouble problem={problem} />
      {data && !all.length && <Empty>Nobody is there.</Empty>}
      {all.length > 0 && !shown.length && <Empty>No module fits this filter.</Empty>}
      {shown.length > 0 && <Table modules={shown} />}
    </>
  );
}

function fits(module: Module, wanted: string): boolean {
  const text = [module.instance, module.kind, module.state, module.node, module.function, labels(module.labels)];
  return wanted
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.join(' ').toLowerCase().includes(word));
}

function Table({ modules }: { modules: Module[] }) {
  return (
    <div class="scroll">
      <table class="cards">
        <thead>
          <tr>
            <th>State</th>
            <th>Function or service</th>
            <th>Version</th>
            <th>Node</th>
            <th>Labels</th>
            <th class="number">In flight</th>
            <th class="number">Done</th>
            <th class="number">Faults</th>
            <th class="number">Loop lag</th>
            <th class="number">Memory</th>
            <th>Instance</th>
          </tr>
        </thead>
        <tbody>
          {modules.map((module) => (
            <Row key={module.instance} module={module} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ module }: { module: Module }) {
  const { health } = module;
  const worker = module.kind === 'worker';
  return (
    <tr class={module.state === 'down' ? 'gone' : ''}>
      <td data-label="State">
        <Badge word={module.state} />
        {module.reason && <div class="muted small">{module.reason}</div>}
      </td>
      <td data-label="What">
        {module.function ? <a href={link('run', module.function)}>{module.function}</a> : module.kind}
        {(health?.breakers.length ?? 0) > 0 && (
          <div class="muted small">breakers open: {health?.breakers.join(', ')}</div>
        )}
      </td>
      <td data-label="Version">{module.version ?? '–'}</td>
      <td data-label="Node">{module.node ?? '–'}</td>
      <td data-label="Labels" class="muted">
        {labels(module.labels) || '–'}
      </td>
      <td data-label="In flight" class="number">
        {!health ? '–' : worker ? <Load busy={health.in_flight} limit={health.limit} /> : health.in_flight}
      </td>
      <td data-label="Done" class="number">
        {health?.done ?? '–'}
      </td>
      <td data-label="Faults" class={`number ${health?.faults ? 'alarm' : ''}`}>
        {health?.faults ?? '–'}
      </td>
      <td data-label="Loop lag" class="number">
        {duration(health?.loop_lag_ns)}
      </td>
      <td data-label="Memory" class="number">
        {bytes(health?.rss_bytes)}
      </td>
      <td data-label="Instance">
        <a class="mono" href={link('log', '', { instance: module.instance })} title="show its log">
          {module.instance}
        </a>
      </td>
    </tr>
  );
}

function Load({ busy, limit }: { busy: number; limit: number }) {
  return (
    <span class="load">
      {busy} / {limit}
      {limit > 0 && <meter value={busy} max={limit} aria-label={`${busy} of ${limit} slots in use`} />}
    </span>
  );
}
