// Who is logged in. The token lives in memory and, so that a reload keeps it, in this tab's sessionStorage.

import { signal } from '@preact/signals';
import type { AccessToken, Role } from './types.ts';

export interface Session {
  user: string;
  role: Role;
  token: string;
  /** By this page's clock, in milliseconds since the epoch. */
  expires: number;
}

const KEY = 'mmn.session';
const ROLES: readonly Role[] = ['viewer', 'operator', 'deployer', 'admin'];

export const session = signal<Session | null>(null);
/** The token is over, and what is on the screen waits for a new one. */
export const ended = signal(false);

let timer: ReturnType<typeof setTimeout> | undefined;

export function restore(): void {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Session | null;
    if (kept && kept.expires > Date.now()) begin(kept);
  } catch {
    sessionStorage.removeItem(KEY);
  }
}

export function loggedIn(user: string, told: AccessToken): void {
  const expires = Date.now() + told.expires_in * 1000;
  begin({ user, role: told.role, token: told.access_token, expires });
}

function begin(found: Session): void {
  sessionStorage.setItem(KEY, JSON.stringify(found));
  clearTimeout(timer);
  timer = setTimeout(expire, found.expires - Date.now());
  ended.value = false;
  session.value = found;
}

/** The gateway takes the token no more: ask for the password, and keep the page as it is meanwhile. */
export function expire(): void {
  if (!session.value) return;
  sessionStorage.removeItem(KEY);
  ended.value = true;
}

export function logOut(): void {
  clearTimeout(timer);
  sessionStorage.removeItem(KEY);
  ended.value = false;
  session.value = null;
}

/** Say whether the user may do what needs a role; the gateway decides all the same. */
export function may(needed: Role): boolean {
  const role = session.value?.role;
  return role !== undefined && ROLES.indexOf(role) >= ROLES.indexOf(needed);
}
