import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { BEYOND, Cursors } from '../../../../gateway/web/src/cursors.ts';
import { Feed, type Socket } from '../../../../gateway/web/src/feed.ts';
import type { FeedMessage, Gap, Item } from '../../../../gateway/web/src/types.ts';

class FakeSocket {
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  sent: { type: string; topics?: string[]; since?: unknown }[] = [];
  closed = false;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.closed = true;
  }

  tell(message: FeedMessage): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  welcome(): void {
    this.tell({ type: 'ready', user: 'a', role: 'viewer', expires_in: 60 });
  }
}

function start() {
  const sockets: FakeSocket[] = [];
  let refusals = 0;
  const open = () => {
    sockets.push(new FakeSocket());
    return sockets.at(-1) as unknown as Socket;
  };
  const feed = new Feed(open, () => (refusals += 1));
  const last = () => {
    const found = sockets.at(-1);
    assert(found);
    return found;
  };
  return { feed, sockets, last, refusals: () => refusals };
}

const item = (seq: number): Item => ({ topic: 'logs', seq, subject: 's', data: {} });
const batch = (...items: Item[]): FeedMessage => ({ type: 'batch', items, cursors: { logs: ['one', items.at(-1)?.seq ?? 0] } });
const confirmed: FeedMessage = { type: 'subscribed', topics: ['logs'] };

test('a new connection goes on where the last one was cut off', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { feed, sockets, last } = start();
  const seen: number[] = [];
  feed.follow({ topics: ['logs'] }, { items: (items) => seen.push(...items.map((one) => one.seq)) });
  last().welcome();
  last().tell(confirmed);
  last().tell(batch(item(1), item(2)));
  assert.equal(last().sent[0]?.since, undefined);
  last().onclose?.({ code: 1006 });
  assert.equal(feed.link.value, 'lost');
  mock.timers.tick(400);
  assert.equal(sockets.length, 2);
  last().welcome();
  assert.deepEqual(last().sent[0], { type: 'subscribe', topics: ['logs'], since: { logs: ['one', 2] } });
  assert.equal(feed.link.value, 'live');
  assert.deepEqual(seen, [1, 2]);
  feed.close();
  mock.timers.reset();
});

test('attempts become rarer, and a refused token ends them', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { feed, sockets, last, refusals } = start();
  feed.connect();
  for (const wait of [400, 800, 1600]) {
    last().onclose?.({ code: 1006 });
    mock.timers.tick(wait / 2 - 1);
    const before = sockets.length;
    mock.timers.tick(wait / 2 + 1);
    assert.equal(sockets.length, before + 1);
  }
  last().onclose?.({ code: 4401 });
  mock.timers.tick(60_000);
  assert.equal(sockets.length, 4);
  assert.equal(refusals(), 1);
  assert.equal(feed.link.value, 'off');
  mock.timers.reset();
});

test('what belongs to the former subscription does not reach the new one', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { feed, last } = start();
  const first: Item[][] = [];
  const second: Item[][] = [];
  const stop = feed.follow({ topics: ['logs'] }, { items: (items) => first.push(items) });
  last().welcome();
  last().tell(confirmed);
  stop();
  feed.follow({ topics: ['logs'] }, { items: (items) => second.push(items) });
  last().tell(batch(item(1)));
  last().tell(confirmed);
  last().tell(batch(item(2)));
  assert.deepEqual([first.length, second.length], [0, 1]);
  feed.close();
  mock.timers.reset();
});

test('a connection that says nothing any more is given up', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { feed, last } = start();
  feed.connect();
  last().welcome();
  const silent = last();
  mock.timers.tick(15_000);
  assert.equal(silent.sent.at(-1)?.type, 'ping');
  silent.tell({ type: 'pong' });
  mock.timers.tick(15_000);
  mock.timers.tick(8_000);
  assert.equal(silent.closed, true);
  assert.equal(feed.link.value, 'lost');
  feed.close();
  mock.timers.reset();
});

const gap = (told: Partial<Gap>): Gap => ({ type: 'gap', topic: 'logs', reason: 'slow', missed: 3, cursor: ['one', 9], ...told });

test('a tail asks behind the end, learns where the end is, and begins before it', () => {
  const cursors = new Cursors(['logs'], 100);
  assert.deepEqual(cursors.since(), { logs: BEYOND });
  assert.equal(cursors.gap(gap({ reason: 'incarnation', cursor: ['one', 250] })), true);
  assert.deepEqual(cursors.since(), { logs: ['one', 150] });
  assert.equal(cursors.gap(gap({ reason: 'expired', cursor: ['one', 160] })), false);
  assert.deepEqual(cursors.since(), { logs: ['one', 160] });
});

test('a gap that is one moves the cursor and is told', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { feed, last } = start();
  const gaps: Gap[] = [];
  feed.follow({ topics: ['logs'] }, { items: () => undefined, gap: (told) => gaps.push(told) });
  last().welcome();
  last().tell(confirmed);
  last().tell(gap({}));
  assert.deepEqual(gaps.map((one) => one.missed), [3]);
  last().onclose?.({ code: 1001 });
  mock.timers.tick(400);
  last().welcome();
  assert.deepEqual(last().sent[0]?.since, { logs: ['one', 9] });
  feed.close();
  mock.timers.reset();
});

test('a new token is told on the open connection, which goes on as it is', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { feed, sockets, last } = start();
  feed.follow({ topics: ['logs'] }, { items: () => undefined });
  feed.renew('too early');
  assert.deepEqual(last().sent, []);
  last().welcome();
  last().tell(confirmed);
  feed.renew('t2');
  assert.deepEqual(last().sent.at(-1), { type: 'auth', token: 't2' });
  last().tell({ type: 'renewed', role: 'viewer', expires_in: 900 });
  assert.equal(feed.link.value, 'live');
  assert.equal(sockets.length, 1);
  feed.close();
  mock.timers.reset();
});
