// A version on its way, in words: its share, what calls to both versions came to, how earlier ones ended.

import { duration, percent } from './format.ts';
import type { Comparison, Rollout, RolloutStep } from './types.ts';

export function shareOf(rollout: Rollout): string {
  if (!rollout.weight) return 'starting';
  return `${percent(rollout.weight)} ${rollout.strategy.paired ? 'of jobs run on both versions' : 'of jobs'}`;
}

/** What was seen so far, one sentence for each thing that people compare. */
export function seenOf({ old, new: trial, pairs }: Comparison): string[] {
  const sides = [trial, old].map(
    ({ version, calls, faults, wait_p90_ns: wait }) =>
      `${version}: ${counted(calls, 'call')}, ${counted(faults, 'fault')}, 9 of 10 wait less than ${duration(wait)}`,
  );
  if (!pairs) return sides;
  return [
    `${counted(pairs.seen, 'job')} run on both: ${pairs.alike} alike, ` +
      `${pairs.only_new_failed} failed on ${trial.version} alone, ${pairs.only_old_failed} on ${old.version} alone`,
    `half of them took less than ${duration(pairs.new_run_p50_ns)} and ${duration(pairs.old_run_p50_ns)}`,
    ...sides,
  ];
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

export function stepOf({ what, weight, version, reason }: RolloutStep): string {
  const did = what === 'weight' ? `gets ${percent(weight)} of jobs` : DID[what];
  return `${version} ${did}${reason ? `: ${reason}` : ''}`;
}

const DID = {
  started: 'is on its way',
  promoted: 'took over',
  'rolled-back': 'was rolled back',
  superseded: 'was superseded',
};
