// The HTTP API. Every refusal becomes a Problem with the gateway's own words, reason and field.

import { AS_COOKIE, renew, session } from './session.ts';
import type { AccessToken, CancelReply, Deployment, FunctionDetail, FunctionView, JobDetail } from './types.ts';
import type { JobPage, JobReceipt, JobRequest, Module } from './types.ts';

const API = '/api/v1';

export class Problem extends Error {
  readonly status: number;
  readonly reason: string;
  readonly field: string | null;

  constructor(status: number, detail: string, reason: string, field: string | null = null) {
    super(detail);
    this.status = status;
    this.reason = reason;
    this.field = field;
  }
}

/** Read an error's body; anything that is not a problem document becomes one. */
export function problemOf(status: number, text: string): Problem {
  try {
    const told = JSON.parse(text) as { detail?: unknown; reason?: unknown; field?: unknown };
    if (typeof told.detail === 'string') {
      const field = typeof told.field === 'string' ? told.field : null;
      return new Problem(status, told.detail, String(told.reason ?? 'error'), field);
    }
  } catch {
    // what stands between this page and the gateway may answer in HTML
  }
  return new Problem(status, `the gateway answered with status ${status}`, 'error');
}

export function toProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, 'the gateway cannot be reached', 'unreachable');
}

async function send(method: string, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  const token = session.value?.token;
  if (token) headers.Authorization = `Bearer ${token}`;
  const sent: RequestInit = { method, headers };
  if (body !== undefined) {
    headers['Content-Type'] = 'application/json';
    sent.body = JSON.stringify(body);
  }
  return fetch(API + path, sent);
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let answer = await send(method, path, body);
  // A token that is not taken any more may have a successor; a login that is over has none.
  if (answer.status === 401 && (await renew())) answer = await send(method, path, body);
  const text = await answer.text();
  if (!answer.ok) throw problemOf(answer.status, text);
  return JSON.parse(text) as T;
}

export async function token(user: string, password: string): Promise<AccessToken> {
  // btoa takes one byte a character, and names may be of any script.
  const pair = String.fromCharCode(...new TextEncoder().encode(`${user}:${password}`));
  const answer = await fetch(`${API}/auth/token`, { method: 'POST', headers: { Authorization: `Basic ${btoa(pair)}`, ...AS_COOKIE } });
  const text = await answer.text();
  if (!answer.ok) throw problemOf(answer.status, text);
  return JSON.parse(text) as AccessToken;
}

export const modules = () => call<Module[]>('GET', '/modules');
export const functions = () => call<FunctionView[]>('GET', '/functions');
export const functionNamed = (name: string) => call<FunctionDetail>('GET', `/functions/${encodeURIComponent(name)}`);
export const enable = (name: string) => call<Deployment>('POST', `/functions/${encodeURIComponent(name)}/enable`);
export const disable = (name: string) => call<Deployment>('POST', `/functions/${encodeURIComponent(name)}/disable`);
export const scale = (name: string, workers: number) =>
  call<Deployment>('POST', `/functions/${encodeURIComponent(name)}/scale`, { workers });
export const promote = (name: string) => call<Deployment>('POST', `/functions/${encodeURIComponent(name)}/promote`);
export const rollback = (name: string) => call<Deployment>('POST', `/functions/${encodeURIComponent(name)}/rollback`);
export const submit = (request: JobRequest) => call<JobReceipt>('POST', '/jobs', request);
export const cancel = (id: string) => call<CancelReply>('POST', `/jobs/${encodeURIComponent(id)}/cancel`);
export const job = (id: string) => call<JobDetail>('GET', `/jobs/${encodeURIComponent(id)}`);

export function jobs(wanted: Record<string, string>): Promise<JobPage> {
  const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value !== ''));
  return call<JobPage>('GET', `/jobs?${query}`);
}

export interface Upload {
  file: File;
  /** The line of the wheel's .sig file; '' without one, which the gateway refuses. */
  signature: string;
  workers: string;
  /** `key=value` pairs; null leaves what was wished before. */
  match: string[] | null;
  progress(ratio: number): void;
}

/** Send a wheel. Not by fetch, which does not tell how much has been sent. */
export function upload({ file, signature, workers, match, progress }: Upload): Promise<Deployment> {
  const query = new URLSearchParams({ filename: file.name });
  if (workers !== '') query.set('workers', workers);
  for (const pair of match ?? []) query.append('match', pair);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `${API}/bundles?${query}`);
    request.setRequestHeader('Authorization', `Bearer ${session.value?.token ?? ''}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    if (signature !== '') request.setRequestHeader('Mmn-Signature', signature);
    request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
    request.onerror = () => reject(new Problem(0, 'the gateway cannot be reached', 'unreachable'));
    request.onload = () => {
      if (request.status < 300) {
        resolve(JSON.parse(request.responseText) as Deployment);
        return;
      }
      if (request.status === 401) void renew();
      reject(problemOf(request.status, request.responseText));
    };
    request.send(file);
  });
}
