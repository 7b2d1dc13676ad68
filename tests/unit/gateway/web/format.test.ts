import assert from 'node:assert/strict';
import { test } from 'node:test';
import { between, bytes, duration, moment, named, percent, plain, timeOfDay } from '../../../../gateway/web/src/format.ts';

test('a duration has three digits that count and the unit people read best', () => {
  const told = [0, 999, 999.6, 1000, 8572, 99_960, 999_400, 999_700, 1_500_000, 2e9, 59.9e9, 61e9, -8572].map(duration);
  const wanted = ['0 ns', '999 ns', '1.00 µs', '1.00 µs', '8.57 µs', '100 µs', '999 µs', '1.00 ms', '1.50 ms', '2.00 s', '59.9 s'];
  assert.deepEqual(told, [...wanted, '1 min 1 s', '-8.57 µs']);
});

test('what is unknown is a dash, never 0', () => {
  assert.deepEqual([duration(null), duration(undefined), duration(Number.NaN), bytes(null), plain(null)], Array(5).fill('–'));
  assert.deepEqual([timeOfDay('no time'), moment(null), plain(''), plain([])], Array(4).fill('–'));
});

test('bytes are counted in powers of 1024', () => {
  assert.deepEqual([0, 1023, 1024, 47_661_056, 5 * 1024 ** 3].map(bytes), ['0 B', '1023 B', '1.0 KiB', '45 MiB', '5.0 GiB']);
});

test('a field is told with the unit that its name carries', () => {
  assert.deepEqual(named('rtt_ns', 1_500_000), ['rtt', '1.50 ms']);
  assert.deepEqual(named('loss_ratio', 1 / 3), ['loss', '33.33 %']);
  assert.deepEqual(named('waiting_time_ms', 1000), ['waiting time', '1000 ms']);
  assert.deepEqual(named('error', { type: 3, code: 1 }), ['error', 'type 3, code 1']);
  assert.deepEqual(named('truncated', false), ['truncated', 'no']);
  assert.equal(percent(0), '0 %');
});

test('time between two moments keeps what is finer than a millisecond', () => {
  assert.equal(between('2030-01-01T00:00:00.000001Z', '2030-01-01T00:00:01.000003Z'), 1_000_002_000);
  assert.equal(between('2030-01-01T00:00:00Z', '2030-01-01T01:00:00+01:00'), 0);
  assert.equal(between(null, '2030-01-01T00:00:00Z'), null);
});
