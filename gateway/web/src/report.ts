// A function's own report in any shape: what to show large, which groups of values, which tables.

import { named, percent } from './format.ts';
import { isFields } from './packets.ts';
import type { Fields, Json, Result } from './types.ts';

export interface Tile {
  label: string;
  text: string;
}

export interface Group {
  title: string;
  values: [label: string, text: string][];
}

export interface Grid {
  title: string;
  columns: string[];
  rows: Fields[];
}

/** Names worth a tile, the most telling first; other durations follow. */
const TELLING = [
  'median_ns',
  'min_ns',
  'max_ns',
  'p95_ns',
  'total_ns',
  'query_ns',
  'rcode_name',
  'status',
  'offset_ns',
];
const MOST_TILES = 4;

/** The few values somebody looks for first. */
export function tilesOf(data: Fields | null): Tile[] {
  const flat = Object.entries(data ?? {}).flatMap((pair) => (isFields(pair[1]) ? Object.entries(pair[1]) : [pair]));
  const known = new Map<string, Json>(flat.filter(([, value]) => ['number', 'string'].includes(typeof value)));
  const tiles: Tile[] = [];
  const sent = known.get('sent');
  const received = known.get('received');
  if (typeof sent === 'number' && typeof received === 'number') {
    const loss = known.get('loss_ratio');
    const lost = typeof loss === 'number' ? `, ${percent(loss)} lost` : '';
    tiles.push({ label: `replies${lost}`, text: `${received} of ${sent}` });
  }
  const durations = [...known.keys()].filter((name) => name.endsWith('_ns') && !TELLING.includes(name));
  for (const name of [...TELLING, ...durations]) {
    const value = known.get(name);
    if (value === undefined || value === '' || tiles.length >= MOST_TILES) continue;
    const [label, text] = named(name, value);
    tiles.push({ label, text });
  }
  return tiles;
}

/** Single values first, then a group for each object in the report. */
export function groupsOf(data: Fields | null): Group[] {
  const single: Group = { title: '', values: [] };
  const groups = [single];
  for (const [name, value] of Object.entries(data ?? {})) {
    if (isFields(value)) {
      groups.push({ title: name.replaceAll('_', ' '), values: Object.entries(value).map((pair) => named(...pair)) });
    } else if (!isTable(value)) {
      single.values.push(named(name, value));
    }
  }
  return groups.filter((group) => group.values.length);
}

/** A table for each list of records, without the columns that say nothing in any row. */
export function gridsOf(data: Fields | null): Grid[] {
  return Object.entries(data ?? {}).flatMap(([name, value]) => {
    if (!isTable(value)) return [];
    const columns = [...new Set(value.flatMap((row) => Object.keys(row)))];
    const telling = columns.filter((column) => value.some((row) => says(row[column])));
    return [{ title: name.replaceAll('_', ' '), columns: telling, rows: value }];
  });
}

function isTable(value: Json | undefined): value is Fields[] {
  return Array.isArray(value) && value.length > 0 && value.every((row) => isFields(row));
}

function says(value: Json | undefined): boolean {
  if (value === null || value === undefined || value === false || value === '') return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

/** In one sentence, for the head of a result. */
export function outcomeOf(result: Result): { good: boolean; word: string; detail: string } {
  const failure = result.failure;
  if (!failure) return { good: true, word: 'success', detail: '' };
  return { good: false, word: failure.code, detail: failure.detail ?? '' };
}
