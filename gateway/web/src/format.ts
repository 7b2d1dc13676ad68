// Numbers and times as people read them. The wire has nanoseconds, bytes and RFC 3339.

import type { Json } from './types.ts';

const UNITS: readonly [size: number, unit: string][] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
];
const NOTHING = '–';

/** Three digits that count: 8572 ns is 8.57 µs. Unknown is a dash, never 0. */
export function duration(ns: number | null | undefined): string {
  if (ns === null || ns === undefined || !Number.isFinite(ns)) return NOTHING;
  if (Math.abs(ns) >= 60e9) {
    const seconds = Math.round(Math.abs(ns) / 1e9);
    const sign = ns < 0 ? '-' : '';
    return `${sign}${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
  for (const [size, unit] of UNITS) {
    // 999.6 µs would be rounded to 1000 µs, which reads worse than 1.00 ms.
    if (Math.abs(ns) >= size * 0.9995) return `${digits(ns / size)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
}

export function bytes(count: number | null | undefined): string {
  if (count === null || count === undefined) return NOTHING;
  if (count < 1024) return `${count} B`;
  for (const unit of ['KiB', 'MiB', 'GiB']) {
    count /= 1024;
    if (count < 1023.95 || unit === 'GiB') return `${count < 10 ? count.toFixed(1) : Math.round(count)} ${unit}`;
  }
  return NOTHING;
}

export function percent(ratio: number): string {
  return `${Number((ratio * 100).toPrecision(4))} %`;
}

/** The local time of day, to the millisecond: what logs and timelines are compared by. */
export function timeOfDay(at: string | null | undefined): string {
  const when = at ? new Date(at) : null;
  if (!when || Number.isNaN(when.getTime())) return NOTHING;
  const two = (value: number) => String(value).padStart(2, '0');
  const thousandth = String(when.getMilliseconds()).padStart(3, '0');
  return `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}.${thousandth}`;
}

/** Day and time, the day left out when it is today's. */
export function moment(at: string | null | undefined, now: Date = new Date()): string {
  const when = at ? new Date(at) : null;
  if (!when || Number.isNaN(when.getTime())) return NOTHING;
  const time = timeOfDay(at).slice(0, 8);
  return when.toDateString() === now.toDateString() ? time : `${when.toLocaleDateString()} ${time}`;
}

/** Nanoseconds from one RFC 3339 time to another, as far as both are known. */
export function between(from: string | null | undefined, to: string | null | undefined): number | null {
  const start = epochNs(from);
  const end = epochNs(to);
  return start === null || end === null ? null : Number(end - start);
}

function epochNs(at: string | null | undefined): bigint | null {
  // Date stops at milliseconds; the fraction is read on its own.
  const found = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(at ?? '');
  if (!found) return null;
  const ms = Date.parse(`${found[1]}${found[3]}`);
  return Number.isNaN(ms) ? null : BigInt(ms) * 1_000_000n + BigInt((found[2] ?? '').padEnd(9, '0'));
}

export function labels(found: Record<string, string> | null | undefined): string {
  return Object.entries(found ?? {}).map(([key, value]) => `${key}=${value}`).join(' ');
}

/** A field of a report with its unit: `rtt_ns` 1500000 is `rtt` 1.50 ms. */
export function named(name: string, value: Json | undefined): [label: string, text: string] {
  const number = typeof value === 'number' ? value : null;
  const unknown = value === null || value === undefined;
  const words = (suffix: string) => name.slice(0, -suffix.length).replaceAll('_', ' ');
  if (name.endsWith('_ns') && (unknown || number !== null)) return [words('_ns'), duration(number)];
  if (name.endsWith('_ms') && (unknown || number !== null)) {
    return [words('_ms'), number === null ? NOTHING : `${number} ms`];
  }
  if (name.endsWith('_ratio') && (unknown || number !== null)) {
    return [words('_ratio'), number === null ? NOTHING : percent(number)];
  }
  if (name.endsWith('_bytes') && (unknown || number !== null)) return [words('_bytes'), bytes(number)];
  return [name.replaceAll('_', ' '), plain(value)];
}

export function plain(value: Json | undefined): string {
  if (value === null || value === undefined || value === '') return NOTHING;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  if (Array.isArray(value)) return value.map((one) => plain(one)).join(', ') || NOTHING;
  if (typeof value === 'object') {
    return Object.entries(value).map((pair) => named(...pair).join(' ')).join(', ') || NOTHING;
  }
  return value;
}
