// A version on its way and how earlier ones ended, within the card of a function.

import * as api from '../api.ts';
import { moment } from '../format.ts';
import { Badge, needs } from '../pieces.tsx';
import { seenOf, shareOf, stepOf } from '../rollout.ts';
import type { Deployment, FunctionView } from '../types.ts';

const SHOWN = 5;

interface Props {
  found: FunctionView;
  busy: boolean;
  onChange(work: () => Promise<Deployment>): void;
}

export function OnItsWay({ found: { name, deployment, comparison }, busy, onChange }: Props) {
  const { rollout } = deployment;
  if (!rollout) return null;
  const off = needs('deployer');
  return (
    <section class="notice" aria-label={`${rollout.version} of ${name} on its way`}>
      <p>
        <strong>{rollout.version}</strong> is on its way <Badge word={shareOf(rollout)} tone="busy" />
      </p>
      {rollout.weight > 0 && comparison && (
        <ul class="small muted">
          {seenOf(comparison).map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      )}
      <div class="actions">
        <button type="button" {...off} disabled={busy || off.disabled} onClick={() => onChange(() => api.promote(name))}>
          Take over now
        </button>
        <button type="button" {...off} disabled={busy || off.disabled} onClick={() => onChange(() => api.rollback(name))}>
          Roll back
        </button>
      </div>
    </section>
  );
}

export function History({ deployment }: { deployment: Deployment }) {
  const steps = deployment.history.slice(-SHOWN).reverse();
  if (!steps.length) return null;
  return (
    <ol class="small" aria-label={`what became of versions of ${deployment.function}`}>
      {steps.map((step) => (
        <li key={`${step.at} ${step.what}`} class={step.what === 'rolled-back' ? 'alarm' : ''}>
          <span class="muted">{moment(step.at)}</span> {stepOf(step)} <span class="muted">({step.by})</span>
        </li>
      ))}
    </ol>
  );
}
