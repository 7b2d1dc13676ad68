// What is deployed and how far it is on each node; switch, scale, upload.

import { useEffect, useRef, useState } from 'preact/hooks';
import * as api from '../api.ts';
import { type Problem, toProblem } from '../api.ts';
import { bytes, labels, moment } from '../format.ts';
import { useFeed, useLoad } from '../live.ts';
import { Badge, Empty, Head, needs, Pairs, Trouble } from '../pieces.tsx';
import { readinessOf } from '../readiness.ts';
import { link } from '../router.ts';
import type { Deployment, FunctionView, Module } from '../types.ts';
import { History, OnItsWay } from './rollout.tsx';
import { Upload } from './upload.tsx';

const LOOK_EVERY_MS = 5_000;
const GATHER_MS = 150;

export function FunctionsView() {
  const functions = useLoad(api.functions, [], LOOK_EVERY_MS);
  const modules = useLoad(api.modules, [], LOOK_EVERY_MS);
  const [uploaded, setUploaded] = useState<Deployment | null>(null);
  const waiting = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);

  const look = () => {
    clearTimeout(waiting.current);
    waiting.current = setTimeout(() => {
      functions.reload();
      modules.reload();
    }, GATHER_MS);
  };
  useEffect(() => () => clearTimeout(waiting.current), []);
  // Announcements come in groups, a few of each worker; one look serves them all.
  useFeed({ topics: ['modules'] }, look);

  const found = functions.data ?? [];
  return (
    <>
      <Head title="Functions" />
      <Trouble problem={functions.problem ?? modules.problem} />
      <Upload
        onDone={(deployment) => {
          setUploaded(deployment);
          look();
        }}
      />
      {functions.data && !found.length && (
        <Empty>No function is deployed yet. Upload a wheel, or run `mmn deploy functions/echo`.</Empty>
      )}
      <ul class="functions">
        {found.map((one) => (
          <Entry
            key={one.name}
            found={one}
            modules={modules.data ?? []}
            fresh={isFresh(one.deployment, uploaded)}
            onChange={look}
          />
        ))}
      </ul>
    </>
  );
}

/** Whether this is what was just uploaded, deployed or on its way. */
function isFresh({ digest, rollout }: Deployment, uploaded: Deployment | null): boolean {
  const wanted = uploaded?.rollout?.digest ?? uploaded?.digest;
  return wanted !== undefined && (digest === wanted || rollout?.digest === wanted);
}

interface EntryProps {
  found: FunctionView;
  modules: Module[];
  fresh: boolean;
  onChange(): void;
}

function Entry({ found, modules, fresh, onChange }: EntryProps) {
  const { deployment, name } = found;
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);

  async function change(work: () => Promise<Deployment>): Promise<void> {
    setBusy(true);
    setProblem(null);
    try {
      await work();
      onChange();
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  const nodes = readinessOf(deployment, modules);
  const off = needs('operator');
  return (
    <li class={`card function ${fresh ? 'fresh' : ''}`} data-function={name}>
      <div class="title">
        <h2>{name}</h2>
        <span class="muted">{deployment.version}</span>
        <Badge word={deployment.enabled ? 'enabled' : 'disabled'} />
        {fresh && <Badge word="just uploaded" tone="busy" />}
      </div>
      <p>{deployment.manifest.summary}</p>
      <OnItsWay found={found} busy={busy} onChange={change} />
      <ul class="nodes" aria-label={`${name} on each node`}>
        {nodes.map((one) => (
          <li key={one.node}>
            <span class="mono">{one.node}</span> <Badge word={one.state} />
            {one.workers > 1 && <span class="muted"> {one.workers} workers</span>}
            {one.reason && <span class="muted small"> {one.reason}</span>}
          </li>
        ))}
        {deployment.enabled && deployment.workers === 0 && <li class="muted">scaled to no worker</li>}
        {deployment.enabled && deployment.workers > 0 && !nodes.length && <li class="muted">no node matches</li>}
        {!deployment.enabled && <li class="muted">switched off everywhere</li>}
      </ul>
      <div class="actions">
        <a class="button primary" href={link('run', name)}>
          Run
        </a>
        <Scale
          name={name}
          workers={deployment.workers}
          busy={busy}
          onScale={(workers) => change(() => api.scale(name, workers))}
        />
        {deployment.enabled ? (
          <button type="button" {...off} disabled={busy || off.disabled} onClick={() => change(() => api.disable(name))}>
            Disable
          </button>
        ) : (
          <button type="button" {...off} disabled={busy || off.disabled} onClick={() => change(() => api.enable(name))}>
            Enable
          </button>
        )}
      </div>
      <Trouble problem={problem} />
      <details>
        <summary>Details</summary>
        <Pairs values={detailsOf(deployment)} />
        <History deployment={deployment} />
      </details>
    </li>
  );
}

function detailsOf(deployment: Deployment): [string, string][] {
  const { limits, needs: needed } = deployment.manifest;
  return [
    ['nodes with labels', labels(deployment.match) || 'all nodes'],
    ['needs', needed.join(', ') || 'nothing special'],
    ['limits', `${limits.concurrency} jobs at once, ${limits.timeout} s, ${limits.memory_mb} MiB`],
    ['versions', Object.keys(deployment.versions).join(', ')],
    ['uploaded', `${moment(deployment.uploaded_at)} by ${deployment.uploaded_by}, ${bytes(deployment.size)}`],
    ['SHA-256', deployment.digest],
    ['signed by', deployment.uploads[deployment.digest]?.signature.author ?? 'nobody: no node runs it'],
  ];
}

interface ScaleProps {
  name: string;
  workers: number;
  busy: boolean;
  onScale(workers: number): void;
}

function Scale({ name, workers, busy, onScale }: ScaleProps) {
  const off = needs('operator');
  return (
    <div class="stepper" role="group" aria-label={`workers of ${name} on each node`}>
      <button
        type="button"
        {...off}
        disabled={busy || off.disabled || workers <= 0}
        aria-label="fewer workers"
        onClick={() => onScale(workers - 1)}
      >
        −
      </button>
      <span>
        <b>{workers}</b> {workers === 1 ? 'worker' : 'workers'} per node
      </span>
      <button
        type="button"
        {...off}
        disabled={busy || off.disabled || workers >= 64}
        aria-label="more workers"
        onClick={() => onScale(workers + 1)}
      >
        +
      </button>
    </div>
  );
}
