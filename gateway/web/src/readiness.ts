// How far a deployment is on each node that it is meant for.

import type { Deployment, Module } from './types.ts';

export interface Readiness {
  node: string;
  state: 'ready' | 'starting' | 'waiting' | 'failed';
  workers: number;
  reason: string;
}

export function readinessOf(deployment: Deployment, modules: readonly Module[]): Readiness[] {
  if (!deployment.enabled || deployment.workers === 0) return [];
  const match = Object.entries(deployment.match);
  const nodes = modules.filter(
    (one) => one.kind === 'runtime' && one.state !== 'down' && match.every(([key, value]) => one.labels[key] === value),
  );
  return nodes.map(({ node, instance }) => {
    const name = node ?? instance;
    const workers = modules.filter(
      (one) => one.node === name && one.function === deployment.function && one.version === deployment.version,
    );
    const ready = workers.filter((one) => one.state === 'up' || one.state === 'suspect').length;
    const failed = workers.find((one) => one.last_event === 'failed');
    const starting = workers.some((one) => one.state === 'starting');
    // A worker that failed and is being started again is still a failure to be told of.
    const state = ready ? 'ready' : failed ? 'failed' : starting ? 'starting' : 'waiting';
    return { node: name, state, workers: ready, reason: ready ? '' : (failed?.reason ?? '') };
  });
}
