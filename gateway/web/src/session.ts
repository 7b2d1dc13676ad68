// Who is logged in. The access token lives in this page's memory alone. What renews it is a cookie that no script
// can read (HttpOnly) and no other site can send (SameSite=Strict, and the header below), so a reload keeps the login.

import { signal } from '@preact/signals';
import type { AccessToken, Role } from './types.ts';

export interface Session {
  user: string;
  role: Role;
  token: string;
}

const AUTH = '/api/v1/auth';
/** Says to the gateway that the refresh token travels as a cookie; other origins may not send it. */
export const AS_COOKIE = { 'Mmn-Session': 'cookie' };
const ROLES: readonly Role[] = ['viewer', 'operator', 'deployer', 'admin'];
/** Part of a token's life after which the next one is fetched. */
const RENEW_AT = 0.8;
const AGAIN_MS = 10_000;

export const session = signal<Session | null>(null);
/** The login is over, and what is on the screen waits for a new one. */
export const ended = signal(false);
/** Whether it is known who is logged in: false for a moment after a load. */
export const settled = signal(false);

let timer: ReturnType<typeof setTimeout> | undefined;
let renewing: Promise<boolean> | null = null;

export async function restore(): Promise<void> {
  await renew();
  settled.value = true;
}

export function loggedIn(told: AccessToken): void {
  clearTimeout(timer);
  timer = setTimeout(renewInTime, told.expires_in * 1000 * RENEW_AT);
  ended.value = false;
  session.value = { user: told.user, role: told.role, token: told.access_token };
}

/** Get the next access token; false when the login is over or the gateway does not answer. */
export function renew(): Promise<boolean> {
  renewing ??= exclusively(fetchNext).finally(() => {
    renewing = null;
  });
  return renewing;
}

/** The cookie counts once, so tabs of one browser take turns. */
function exclusively(work: () => Promise<boolean>): Promise<boolean> {
  return navigator.locks ? navigator.locks.request('mmn-refresh', work) : work();
}

async function fetchNext(): Promise<boolean> {
  const before = session.value;
  const headers = { 'Content-Type': 'application/json', ...AS_COOKIE };
  try {
    const answer = await fetch(`${AUTH}/refresh`, { method: 'POST', headers, body: '{}' });
    // Meanwhile somebody logged out, or in by hand.
    if (session.value !== before) return session.value !== null;
    if (answer.ok) loggedIn((await answer.json()) as AccessToken);
    else if (answer.status === 401) expire();
    return answer.ok;
  } catch {
    return false;
  }
}

async function renewInTime(): Promise<void> {
  if ((await renew()) || !session.value || ended.value) return;
  // The gateway is away; the token lasts a little longer.
  timer = setTimeout(renewInTime, AGAIN_MS);
}

/** The login is over: ask for the password, and keep the page as it is meanwhile. */
export function expire(): void {
  if (!session.value) return;
  clearTimeout(timer);
  ended.value = true;
}

export function logOut(): void {
  const token = session.value?.token;
  clearTimeout(timer);
  ended.value = false;
  session.value = null;
  if (!token) return;
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
  // Without an answer the login ends by itself in time; this page has forgotten it already.
  fetch(`${AUTH}/revoke`, { method: 'POST', headers, body: '{}', keepalive: true }).catch(() => undefined);
}

/** Say whether the user may do what needs a role; the gateway decides all the same. */
export function may(needed: Role): boolean {
  const role = session.value?.role;
  return role !== undefined && ROLES.indexOf(role) >= ROLES.indexOf(needed);
}
