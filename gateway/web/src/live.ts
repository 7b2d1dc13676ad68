// The one feed of this page, tied to the session, and hooks for views.

import { effect, signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Problem, toProblem } from './api.ts';
import { Feed, type Follower, type Wish } from './feed.ts';
import { ended, renew, session } from './session.ts';
import type { Gap, Item } from './types.ts';

function open(): WebSocket | null {
  if (!session.value || ended.value) return null;
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  return new WebSocket(`${scheme}://${location.host}/api/v1/feed`, ['mmn.v1', `bearer.${session.value.token}`]);
}

export const feed = new Feed(open, refused);

async function refused(): Promise<void> {
  if (await renew()) feed.connect();
}

/** The newest notice that something was left out; views clear it when they begin. */
export const gap = signal<Gap | null>(null);

export function start(): void {
  // Signals of the connection itself are not read here, so this runs on a login and on its end only.
  let user: string | undefined;
  effect(() => {
    const found = ended.value ? null : session.value;
    if (user !== found?.user) feed.close();
    user = found?.user;
    if (!found) return;
    if (feed.link.peek() === 'live') feed.renew(found.token);
    else feed.connect();
  });
  addEventListener('online', () => feed.connect());
}

/** Follow a part of the feed as long as the view is there. `key` says when the wish has changed. */
export function useFeed(wish: Wish | null, take: (items: Item[]) => void, key = ''): void {
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    if (!wish) return undefined;
    gap.value = null;
    const follower: Follower = {
      items: (items) => latest.current(items),
      gap: (told) => {
        gap.value = told;
      },
    };
    return feed.follow(wish, follower);
  }, [key, wish === null]);
}

export interface Loaded<T> {
  data: T | null;
  problem: Problem | null;
  reload(): void;
}

/** Load something now, again on demand, after a new login, and every so many milliseconds. */
export function useLoad<T>(load: () => Promise<T>, wanted: readonly unknown[] = [], everyMs = 0): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; problem: Problem | null }>({ data: null, problem: null });
  const [turn, setTurn] = useState(0);
  const token = session.value?.token;
  useEffect(() => {
    let current = true;
    load().then(
      (data) => current && setState({ data, problem: null }),
      (error: unknown) => current && setState((before) => ({ data: before.data, problem: toProblem(error) })),
    );
    return () => {
      current = false;
    };
  }, [...wanted, turn, token]);
  const reload = () => setTurn((before) => before + 1);
  useEffect(() => {
    if (!everyMs) return undefined;
    const timer = setInterval(() => !ended.value && setTurn((before) => before + 1), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return { ...state, reload };
}

/** The page's clock, for what ages; a new value every so many milliseconds. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

/** Draw again, at most once a frame however often it is called. */
export function useRedraw(): () => void {
  const [, setTurn] = useState(0);
  const waiting = useRef(0);
  useEffect(() => () => cancelAnimationFrame(waiting.current), []);
  return () => {
    waiting.current ||= requestAnimationFrame(() => {
      waiting.current = 0;
      setTurn((before) => before + 1);
    });
  };
}
