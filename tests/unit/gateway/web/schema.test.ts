import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, type Field, fieldOfProblem, fieldsOf, textOf } from '../../../../gateway/web/src/schema.ts';
import type { Schema } from '../../../../gateway/web/src/types.ts';

const SCHEMA: Schema = {
  type: 'object',
  properties: {
    target: { type: 'string', minLength: 1, maxLength: 10, pattern: '^[a-z.]+$', description: 'whom to ask' },
    count: { type: 'integer', minimum: 1, maximum: 1000, default: 5 },
    ratio: { type: 'number', exclusiveMinimum: 0 },
    family: { enum: ['4', '6', 'auto'], default: 'auto' },
    level: { anyOf: [{ const: 1 }, { const: 2 }, { type: 'null' }], default: null },
    server: { anyOf: [{ $ref: '#/$defs/Host' }, { type: 'null' }], default: null },
    warm: { type: 'boolean', default: false },
    ports: { type: 'array', items: { type: 'integer' } } as Schema,
    headers: { type: 'object', default: { a: 'b' } },
    wait_ms: { type: ['integer', 'null'] },
  },
  required: ['target'],
  $defs: { Host: { type: 'string', maxLength: 3 } },
};
const FIELDS = fieldsOf(SCHEMA);
const INITIAL = Object.fromEntries(FIELDS.map((field) => [field.name, field.initial]));

function field(name: string): Field {
  const found = FIELDS.find((one) => one.name === name);
  assert(found);
  return found;
}

function errors(texts: Record<string, string>): Record<string, string> {
  return collect(FIELDS, { ...INITIAL, target: 'a.b', ...texts }).errors;
}

test('each property becomes the input that fits it', () => {
  const kinds = FIELDS.map((one) => `${one.name} ${one.kind}`);
  assert.deepEqual(kinds, [
    'target text',
    'count integer',
    'ratio number',
    'family choice',
    'level choice',
    'server text',
    'warm boolean',
    'ports json',
    'headers json',
    'wait_ms integer',
  ]);
  assert.equal(field('wait_ms').label, 'wait (ms)');
  assert.equal(field('count').range, '1 to 1000');
  assert.equal(field('ratio').range, 'more than 0');
  assert.equal(field('target').help, 'whom to ask');
  assert.deepEqual(field('level').choices.map((one) => one.value), [1, 2]);
});

test('defaults are filled in, and the form gives back what it was given', () => {
  const { params, errors: found } = collect(FIELDS, { ...INITIAL, target: 'a.b' });
  assert.deepEqual(found, {});
  assert.deepEqual(params, { target: 'a.b', count: 5, family: 'auto', warm: false, headers: { a: 'b' } });
  assert.equal(textOf(field('level'), 2), '1');
  assert.equal(textOf(field('level'), 3), '');
});

test('what is empty is left to the function, unless it is needed', () => {
  assert.deepEqual(collect(FIELDS, {}), { params: {}, errors: { target: 'is needed' } });
});

test('values out of the rule are told at their field', () => {
  assert.deepEqual(errors({ count: '1001' }), { count: 'must be at most 1000' });
  assert.deepEqual(errors({ count: '0' }), { count: 'must be at least 1' });
  assert.deepEqual(errors({ count: '1.5' }), { count: 'must be a whole number' });
  assert.deepEqual(errors({ count: '9007199254740993' }), { count: 'is too large for this form' });
  assert.deepEqual(errors({ ratio: '0' }), { ratio: 'must be more than 0' });
  assert.deepEqual(errors({ ratio: 'much' }), { ratio: 'must be a number' });
  assert.deepEqual(errors({ target: 'A' }), { target: 'must match ^[a-z.]+$' });
  assert.deepEqual(errors({ target: 'abcdefghijk' }), { target: 'must have at most 10 characters' });
  assert.deepEqual(errors({ server: 'long' }), { server: 'must have at most 3 characters' });
  assert.deepEqual(errors({ ports: '{}' }), { ports: 'must be a JSON array' });
  assert.deepEqual(errors({ ports: '[' }), { ports: 'is not valid JSON' });
  assert.deepEqual(errors({ headers: '[]' }), { headers: 'must be a JSON object' });
});

test('a pattern of another language is left to the server', () => {
  const fields = fieldsOf({ properties: { name: { type: 'string', pattern: '(?P<x>a)' } } });
  assert.deepEqual(collect(fields, { name: 'b' }), { params: { name: 'b' }, errors: {} });
});

test('a problem of the server finds its field', () => {
  assert.equal(fieldOfProblem('params.count', FIELDS), 'count');
  assert.equal(fieldOfProblem('params.ports[0].x', FIELDS), 'ports');
  assert.equal(fieldOfProblem('params.other', FIELDS), null);
  assert.equal(fieldOfProblem('params', FIELDS), null);
  assert.equal(fieldOfProblem(null, FIELDS), null);
});
