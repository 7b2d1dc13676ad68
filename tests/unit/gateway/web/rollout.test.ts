import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seenOf, shareOf, stepOf } from '../../../../gateway/web/src/rollout.ts';
import type { Comparison, Rollout, RolloutStep } from '../../../../gateway/web/src/types.ts';

function rollout(weight: number, paired = false): Rollout {
  return { id: 'r', version: '1.1.0', digest: 'd', step: 0, weight, strategy: { steps: [0.1], hold_s: 2, paired } };
}

const blank = { failures: 0, run_p50_ns: null };
const seen: Comparison = {
  old: { ...blank, version: '1.0.0', calls: 90, faults: 0, wait_p90_ns: 2_000_000 },
  new: { ...blank, version: '1.1.0', calls: 10, faults: 1, wait_p90_ns: null },
  pairs: null,
};

test('a version on its way has no share until it is ready everywhere', () => {
  assert.equal(shareOf(rollout(0)), 'starting');
  assert.equal(shareOf(rollout(0.1)), '10 % of jobs');
  assert.equal(shareOf(rollout(1, true)), '100 % of jobs run on both versions');
});

test('both versions are told side by side, and what is unknown is a dash', () => {
  assert.deepEqual(seenOf(seen), [
    '1.1.0: 10 calls, 1 fault, 9 of 10 wait less than –',
    '1.0.0: 90 calls, 0 faults, 9 of 10 wait less than 2.00 ms',
  ]);
  const pairs = { seen: 1, alike: 0, only_old_failed: 0, only_new_failed: 1, old_run_p50_ns: 1e6, new_run_p50_ns: 2e6 };
  assert.deepEqual(seenOf({ ...seen, pairs }).slice(0, 2), [
    '1 job run on both: 0 alike, 1 failed on 1.1.0 alone, 0 on 1.0.0 alone',
    'half of them took less than 2.00 ms and 1.00 ms',
  ]);
});

test('each step of the history is a sentence with its reason', () => {
  const step: RolloutStep = { at: '', version: '1.1.0', what: 'rolled-back', weight: 0, reason: 'n1: boom', by: 'a' };
  assert.equal(stepOf(step), '1.1.0 was rolled back: n1: boom');
  assert.equal(stepOf({ ...step, what: 'weight', weight: 0.5, reason: '' }), '1.1.0 gets 50 % of jobs');
  assert.equal(stepOf({ ...step, what: 'promoted', reason: '' }), '1.1.0 took over');
});
