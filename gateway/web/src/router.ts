// The address bar: `#/view/id?query`. A hash needs nothing of the server and survives a reload.

import { signal } from '@preact/signals';

export const VIEWS = ['modules', 'functions', 'run', 'jobs', 'log'] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  id: string;
  query: Record<string, string>;
}

export function parse(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#?\/?/, '').split('?', 2);
  const [view = '', ...rest] = path.split('/');
  const found = VIEWS.find((one) => one === view);
  return { view: found ?? 'modules', id: found ? unescaped(rest.join('/')) : '', query: read(search) };
}

function read(search: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(search));
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

export function link(view: View, id = '', query: Record<string, string> = {}): string {
  const told = Object.entries(query).filter(([, value]) => value !== '');
  const search = told.length ? `?${new URLSearchParams(told)}` : '';
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ''}${search}`;
}

export const route = signal<Route>(parse(''));

/** Follow the address bar from now on. */
export function start(): void {
  const read = () => {
    route.value = parse(location.hash);
  };
  addEventListener('hashchange', read);
  read();
}

export function go(to: string, { replace = false } = {}): void {
  if (replace) {
    history.replaceState(null, '', to);
    route.value = parse(to);
  } else {
    location.hash = to;
  }
}
