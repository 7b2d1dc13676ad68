import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Line, Lines, passes } from '../../../../gateway/web/src/loglines.ts';
import { pointsOf, pointsOfResult, Run } from '../../../../gateway/web/src/packets.ts';
import { readinessOf } from '../../../../gateway/web/src/readiness.ts';
import { Registry } from '../../../../gateway/web/src/registry.ts';
import { gridsOf, groupsOf, tilesOf } from '../../../../gateway/web/src/report.ts';
import { link, parse } from '../../../../gateway/web/src/router.ts';
import type { Deployment, Fields, Item, LogLine, Module, Progress, Result } from '../../../../gateway/web/src/types.ts';

function progress(n: number, event: Fields, instance = 'n1_a'): Progress {
  return { job: 'j', instance, function: 'f', n, at: '', event };
}

test('packets become points: the first answer, late or not, or none', () => {
  const events = [
    { kind: 'sent', seq: 0 },
    { kind: 'reply', seq: 0, rtt_ns: 5 },
    { kind: 'duplicate', seq: 0, rtt_ns: 9 },
    { kind: 'timeout', seq: 2 },
    { kind: 'late', seq: 1, rtt_ns: 7 },
    { kind: 'late', seq: 2, rtt_ns: 8 },
  ].map((event, n) => progress(n, event));
  assert.deepEqual(pointsOf(events), [
    { x: 0, rtt: 5, late: false },
    { x: 1, rtt: 7, late: true },
    { x: 2, rtt: 8, late: true },
  ]);
  assert.deepEqual(pointsOf([progress(0, { kind: 'error', seq: 4 })]), [{ x: 4, rtt: null, late: false }]);
});

test('only the newest attempt of a job is shown', () => {
  const run = new Run();
  run.take(progress(0, { kind: 'a' }));
  run.take(progress(1, { kind: 'b' }));
  run.take(progress(0, { kind: 'c' }, 'n2_b'));
  assert.deepEqual(run.events.map((one) => one.event.kind), ['c']);
  run.take(progress(0, { kind: 'd' }, 'n2_b'));
  assert.deepEqual(run.events.map((one) => one.event.kind), ['d']);
});

const DATA: Fields = {
  sent: 2,
  received: 1,
  loss_ratio: 0.5,
  round_trip: { min_ns: 10, median_ns: 20 },
  packets: [
    { seq: 0, rtt_ns: 10, late: false, error: null },
    { seq: 1, rtt_ns: null, late: false, error: null },
  ],
};

test('any report is laid out as tiles, groups and tables', () => {
  assert.deepEqual(tilesOf(DATA).map((tile) => `${tile.label}: ${tile.text}`), [
    'replies, 50 % lost: 1 of 2',
    'median: 20 ns',
    'min: 10 ns',
  ]);
  assert.deepEqual(groupsOf(DATA).map((group) => group.title), ['', 'round trip']);
  assert.deepEqual(gridsOf(DATA).map((grid) => grid.columns), [['seq', 'rtt_ns']]);
  assert.deepEqual([tilesOf(null), groupsOf(null), gridsOf(null)], [[], [], []]);
  const points = pointsOfResult({ data: DATA } as unknown as Result);
  assert.deepEqual(points.map((point) => point.rtt), [10, null]);
});

function module(change: Partial<Module>): Module {
  const blank = { version: null, node: null, function: null, labels: {}, age_s: 0, last_event: null, reason: '' };
  return { instance: 'i', kind: 'worker', state: 'up', box: null, egress: null, health: null, ...blank, ...change };
}

test('silence makes suspect, then down, and a heartbeat makes up again', () => {
  const registry = new Registry();
  const health = { instance: 'i', kind: 'worker', state: 'up', labels: {} };
  const beat: Item = { topic: 'health', seq: 1, subject: '', data: health };
  registry.take(beat, 0);
  const state = (now: number) => registry.list(now)[0]?.state;
  assert.deepEqual([state(2_000), state(3_000), state(6_000)], ['up', 'suspect', 'down']);
  registry.take(beat, 7_000);
  assert.equal(state(7_500), 'up');
  const draining: Item = { topic: 'modules', seq: 2, subject: '', data: { instance: 'i', event: 'draining', labels: {} } };
  registry.take(draining, 7_600);
  assert.equal(state(7_700), 'draining');
  assert.deepEqual(registry.list(100_000), []);
});

test('what the API says replaces what was folded', () => {
  const registry = new Registry();
  registry.load([module({ instance: 'old' })], 0);
  registry.load([module({ instance: 'new', age_s: null })], 0);
  assert.deepEqual(registry.list(0).map((one) => `${one.instance} ${one.state}`), ['new starting']);
});

test('a deployment is told of on each node that matches', () => {
  const deployment = { function: 'f', version: '2.0.0', enabled: true, workers: 1, match: { site: 'a' } } as unknown as Deployment;
  const worker = (node: string, change: Partial<Module>) => module({ node, function: 'f', version: '2.0.0', ...change });
  const modules = [
    ...['n1', 'n2', 'n3'].map((node) => module({ kind: 'runtime', instance: node, node, labels: { site: 'a' } })),
    module({ kind: 'runtime', instance: 'n4', node: 'n4', labels: { site: 'b' } }),
    worker('n1', {}),
    worker('n2', { last_event: 'failed', state: 'down', reason: 'import error' }),
    worker('n3', { version: '1.0.0' }),
  ];
  const told = readinessOf(deployment, modules).map((one) => `${one.node} ${one.state} ${one.reason}`.trim());
  assert.deepEqual(told, ['n1 ready', 'n2 failed import error', 'n3 waiting']);
  assert.deepEqual(readinessOf({ ...deployment, enabled: false }, modules), []);
});

test('log lines are filtered by who, what and how bad', () => {
  const told: LogLine = { at: '', level: 'warning', instance: 'n1', event: 'e', fields: { job: 'abc', instance: 'n1_x' } };
  const line: Line = { seq: 1, told };
  const runs = new Map([['n1', 'echo']]);
  const fits = (wanted: Record<string, string>) =>
    passes(line, { instance: '', function: '', job: '', level: '', ...wanted }, runs);
  assert(fits({}) && fits({ level: 'info' }) && fits({ job: 'ab' }) && fits({ instance: 'n1_' }) && fits({ function: 'echo' }));
  assert(!fits({ level: 'error' }) && !fits({ job: 'x' }) && !fits({ instance: 'n2' }) && !fits({ function: 'ping' }));
  const lines = new Lines();
  for (let seq = 0; seq < 1_100; seq += 1) lines.add(seq, told);
  assert.deepEqual([lines.all.length, lines.all[0]?.seq], [1_000, 1_099]);
});

test('addresses are read as they are written', () => {
  const told = link('jobs', 'a/b', { state: 'queued', function: '' });
  assert.equal(told, '#/jobs/a%2Fb?state=queued');
  assert.deepEqual(parse(told), { view: 'jobs', id: 'a/b', query: { state: 'queued' } });
  assert.deepEqual(parse('#/nowhere/x'), { view: 'modules', id: '', query: {} });
  assert.deepEqual(parse('#/jobs/%E0'), { view: 'jobs', id: '', query: {} });
});
