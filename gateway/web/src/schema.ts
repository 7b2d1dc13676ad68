// From a JSON Schema of parameters to the fields of a form, and from their texts back to parameters.

import type { Fields, Json, Schema } from './types.ts';

export type Kind = 'text' | 'integer' | 'number' | 'boolean' | 'choice' | 'json';

export interface Field {
  name: string;
  label: string;
  kind: Kind;
  help: string;
  required: boolean;
  /** What the function takes when the field is left out, as the text of its input. */
  initial: string;
  choices: { text: string; value: Json }[];
  /** In words: `1 to 1000`. */
  range: string;
  schema: Schema;
}

const UNITS: Record<string, string> = { ns: 'ns', us: 'µs', ms: 'ms', s: 's', bytes: 'bytes' };
const DEEPEST_REFERENCE = 20;

export function fieldsOf(schema: Schema): Field[] {
  const top = resolved(schema, schema);
  const required = new Set(top.required ?? []);
  return Object.entries(top.properties ?? {}).map(([name, property]) => {
    const found = simplified(property, schema);
    const kind = kindOf(found.schema);
    const field: Field = {
      name,
      label: labelOf(name),
      kind,
      help: found.schema.description ?? property.description ?? '',
      required: required.has(name),
      initial: '',
      choices: kind === 'choice' ? choicesOf(found.schema) : [],
      range: rangeOf(found.schema),
      schema: found.schema,
    };
    const fallback = property.default ?? found.schema.default;
    return { ...field, initial: textOf(field, fallback) };
  });
}

/** The text of an input that stands for a value; nothing for null and for no value. */
export function textOf(field: Field, value: Json | undefined): string {
  if (value === undefined || value === null) return '';
  if (field.kind === 'choice') {
    const at = field.choices.findIndex((one) => JSON.stringify(one.value) === JSON.stringify(value));
    return at < 0 ? '' : String(at);
  }
  if (field.kind === 'json') return JSON.stringify(value, null, 2);
  return String(value);
}

export interface Collected {
  params: Fields;
  errors: Record<string, string>;
}

/** Read all fields; what is empty and not required is left to the function's default. */
export function collect(fields: readonly Field[], texts: Record<string, string>): Collected {
  const params: Fields = {};
  const errors: Record<string, string> = {};
  for (const field of fields) {
    const text = texts[field.name] ?? '';
    if (text === '' && !(field.kind === 'text' && field.required && field.schema.minLength === 0)) {
      if (field.required) errors[field.name] = 'is needed';
      continue;
    }
    const found = read(field, text);
    if ('error' in found) errors[field.name] = found.error;
    else params[field.name] = found.value;
  }
  return { params, errors };
}

type Found = { value: Json } | { error: string };

function read(field: Field, text: string): Found {
  switch (field.kind) {
    case 'integer':
      if (!/^[+-]?\d+$/.test(text.trim())) return { error: 'must be a whole number' };
      if (!Number.isSafeInteger(Number(text))) return { error: 'is too large for this form' };
      return inRange(field.schema, Number(text));
    case 'number':
      if (text.trim() === '' || !Number.isFinite(Number(text))) return { error: 'must be a number' };
      return inRange(field.schema, Number(text));
    case 'boolean':
      return { value: text === 'true' };
    case 'choice': {
      const chosen = field.choices[Number(text)];
      return chosen ? { value: chosen.value } : { error: 'choose one' };
    }
    case 'json':
      return readJson(field.schema, text);
    case 'text':
      return readText(field.schema, text);
  }
}

function inRange(schema: Schema, value: number): Found {
  if (schema.minimum !== undefined && value < schema.minimum) return { error: `must be at least ${schema.minimum}` };
  if (schema.maximum !== undefined && value > schema.maximum) return { error: `must be at most ${schema.maximum}` };
  const { exclusiveMinimum: above, exclusiveMaximum: below } = schema;
  if (above !== undefined && value <= above) return { error: `must be more than ${above}` };
  if (below !== undefined && value >= below) return { error: `must be less than ${below}` };
  return { value };
}

function readText(schema: Schema, text: string): Found {
  // JSON Schema counts characters, not UTF-16 units.
  const length = [...text].length;
  if (schema.minLength !== undefined && length < schema.minLength) {
    return { error: `must have at least ${schema.minLength} characters` };
  }
  if (schema.maxLength !== undefined && length > schema.maxLength) {
    return { error: `must have at most ${schema.maxLength} characters` };
  }
  if (schema.pattern !== undefined && !fits(schema.pattern, text)) return { error: `must match ${schema.pattern}` };
  return { value: text };
}

function fits(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern, 'u').test(text);
  } catch {
    return true; // not a pattern this language knows: the server decides
  }
}

function readJson(schema: Schema, text: string): Found {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    return { error: 'is not valid JSON' };
  }
  const types = schema.type === undefined ? [] : [schema.type].flat();
  if (types.length === 1 && types[0] === 'array' && !Array.isArray(value)) return { error: 'must be a JSON array' };
  if (types.length === 1 && types[0] === 'object' && (typeof value !== 'object' || !value || Array.isArray(value))) {
    return { error: 'must be a JSON object' };
  }
  return { value };
}

/** Which field a problem of the server belongs to: `params.count` and `params.count[0]` are `count`. */
export function fieldOfProblem(path: string | null | undefined, fields: readonly Field[]): string | null {
  const name = /^params\.([^.[]+)/.exec(path ?? '')?.[1];
  return fields.some((field) => field.name === name) ? (name ?? null) : null;
}

function labelOf(name: string): string {
  const parts = name.split('_');
  const unit = parts.length > 1 ? UNITS[parts[parts.length - 1] ?? ''] : undefined;
  return unit ? `${parts.slice(0, -1).join(' ')} (${unit})` : parts.join(' ');
}

function resolved(schema: Schema, root: Schema): Schema {
  let found = schema;
  for (let depth = 0; found.$ref !== undefined && depth < DEEPEST_REFERENCE; depth += 1) {
    const { $ref, ...rest } = found;
    const target = root.$defs?.[/^#\/\$defs\/(.+)$/.exec($ref)?.[1] ?? ''];
    if (!target) return rest;
    found = { ...target, ...rest };
  }
  return found;
}

/** Without references and without null among the alternatives, since an empty input says null. */
function simplified(property: Schema, root: Schema): { schema: Schema } {
  let found = resolved(property, root);
  if (found.allOf?.length === 1 && found.allOf[0]) found = { ...resolved(found.allOf[0], root), ...found };
  const { anyOf, oneOf, ...rest } = found;
  const branches = (anyOf ?? oneOf)?.map((one) => resolved(one, root)).filter((one) => one.type !== 'null');
  if (branches?.length === 1 && branches[0]) found = { ...branches[0], ...rest };
  else if (branches?.every((one) => one.const !== undefined || one.enum)) {
    found = { ...rest, enum: branches.flatMap((one) => one.enum ?? [one.const ?? null]) };
  }
  if (Array.isArray(found.type)) {
    const types = found.type.filter((one) => one !== 'null');
    found = { ...found, type: types.length === 1 && types[0] ? types[0] : types };
  }
  return { schema: found };
}

function kindOf(schema: Schema): Kind {
  if (schema.enum ?? schema.const !== undefined) return 'choice';
  switch (schema.type) {
    case 'string':
      return 'text';
    case 'integer':
    case 'number':
    case 'boolean':
      return schema.type;
    default:
      return 'json';
  }
}

function choicesOf(schema: Schema): Field['choices'] {
  const values = schema.enum ?? [schema.const ?? null];
  return values
    .filter((value) => value !== null)
    .map((value) => ({ text: typeof value === 'string' ? value : JSON.stringify(value), value }));
}

function rangeOf(schema: Schema): string {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (low !== undefined && high !== undefined) return `${low} to ${high}`;
  if (low !== undefined) return schema.minimum === undefined ? `more than ${low}` : `${low} or more`;
  if (high !== undefined) return schema.maximum === undefined ? `less than ${high}` : `${high} or less`;
  return '';
}
