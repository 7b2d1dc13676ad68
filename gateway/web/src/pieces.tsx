// Small things that several views show.

import type { ComponentChildren } from 'preact';
import type { Problem } from './api.ts';
import { timeOfDay } from './format.ts';
import { gap } from './live.ts';
import type { Role } from './types.ts';
import { may } from './session.ts';

const TONES: Record<string, string> = {
  up: 'good',
  ready: 'good',
  finished: 'good',
  live: 'good',
  enabled: 'good',
  success: 'good',
  starting: 'busy',
  started: 'busy',
  waiting: 'busy',
  running: 'busy',
  connecting: 'busy',
  dispatched: 'busy',
  suspect: 'warn',
  draining: 'warn',
  warning: 'warn',
  expired: 'warn',
  cancelled: 'warn',
  rerouted: 'warn',
  retried: 'warn',
  lost: 'bad',
  down: 'bad',
  failed: 'bad',
  error: 'bad',
  critical: 'bad',
};

/** A state as a word, with a colour for those who see it. */
export function Badge({ word, tone }: { word: string; tone?: string }) {
  return <span class={`badge ${tone ?? TONES[word] ?? 'calm'}`}>{word}</span>;
}

/** What the gateway refused, in its words, with the rule that was broken. */
export function Trouble({ problem, title }: { problem: Problem | null; title?: string }) {
  if (!problem) return null;
  return (
    <div class="notice bad" role="alert">
      {title && <strong>{title}: </strong>}
      <span>{problem.message}</span>
      <span class="rule">
        {problem.field && (
          <>
            field <code>{problem.field}</code>,{' '}
          </>
        )}
        rule <code>{problem.reason}</code>
      </span>
    </div>
  );
}

/** A notice that the feed left something out. */
export function GapNotice() {
  const told = gap.value;
  if (!told) return null;
  const why = {
    slow: 'this page read too slowly',
    expired: 'it was gone before this page was connected again',
    incarnation: 'its stream was made anew',
  }[told.reason];
  const what = told.missed === null ? 'Some items' : `${told.missed} items`;
  return (
    <div class="notice warn" role="status">
      <span>
        {what} of <code>{told.topic}</code> are missing: {why}.
      </span>
      <button type="button" class="quiet" onClick={() => (gap.value = null)}>
        Dismiss
      </button>
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Time({ at }: { at: string | null | undefined }) {
  return at ? (
    <time dateTime={at} title={at}>
      {timeOfDay(at)}
    </time>
  ) : (
    <span>–</span>
  );
}

/** A heading with what belongs to its right. */
export function Head({ title, children }: { title: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div class="head">
      <h1>{title}</h1>
      <div class="tools">{children}</div>
    </div>
  );
}

/** Why a button is off, for those who lack the role. */
export function needs(role: Role): { disabled: boolean; title?: string } {
  return may(role) ? { disabled: false } : { disabled: true, title: `needs the role ${role}` };
}

export function Pairs({ values }: { values: readonly (readonly [label: string, text: ComponentChildren])[] }) {
  return (
    <dl class="pairs">
      {values.map(([label, text]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  );
}
