// The inputs of a form that was made from a schema.

import type { Field } from './schema.ts';

interface Props {
  fields: readonly Field[];
  texts: Record<string, string>;
  errors: Record<string, string>;
  onChange(name: string, text: string): void;
}

export function SchemaFields({ fields, texts, errors, onChange }: Props) {
  return (
    <div class="fields">
      {fields.map((field) => (
        <Entry
          key={field.name}
          field={field}
          text={texts[field.name] ?? ''}
          error={errors[field.name]}
          onChange={(text) => onChange(field.name, text)}
        />
      ))}
    </div>
  );
}

interface EntryProps {
  field: Field;
  text: string;
  error: string | undefined;
  onChange(text: string): void;
}

function Entry({ field, text, error, onChange }: EntryProps) {
  const id = `param-${field.name}`;
  const hint = [field.help, field.range].filter(Boolean).join('; ');
  return (
    <div class={`field ${field.kind === 'json' ? 'wide' : ''} ${error ? 'wrong' : ''}`}>
      <label for={id}>
        {field.label}
        {field.required && <span class="muted"> (needed)</span>}
      </label>
      <Input field={field} id={id} text={text} wrong={Boolean(error)} onChange={onChange} />
      {error && (
        <p id={`${id}-error`} class="wrong" role="alert">
          {error}
        </p>
      )}
      {hint && (
        <p id={`${id}-hint`} class="muted small">
          {hint}
        </p>
      )}
    </div>
  );
}

interface InputProps {
  field: Field;
  id: string;
  text: string;
  wrong: boolean;
  onChange(text: string): void;
}

function Input({ field, id, text, wrong, onChange }: InputProps) {
  const common = {
    id,
    name: field.name,
    'aria-invalid': wrong,
    'aria-required': field.required,
    'aria-describedby': `${id}-error ${id}-hint`,
  };
  switch (field.kind) {
    case 'boolean':
      if (field.required || field.initial !== '') {
        return (
          <input
            {...common}
            type="checkbox"
            checked={text === 'true'}
            onChange={(event) => onChange(String(event.currentTarget.checked))}
          />
        );
      }
      return (
        <select {...common} value={text} onChange={(event) => onChange(event.currentTarget.value)}>
          <option value="">not said</option>
          <option value="true">yes</option>
          <option value="false">no</option>
        </select>
      );
    case 'choice':
      return (
        <select {...common} value={text} onChange={(event) => onChange(event.currentTarget.value)}>
          {(!field.required || text === '') && field.initial === '' && <option value="">not said</option>}
          {field.choices.map((choice, index) => (
            <option key={choice.text} value={String(index)}>
              {choice.text}
            </option>
          ))}
        </select>
      );
    case 'json':
      return (
        <textarea
          {...common}
          rows={4}
          spellcheck={false}
          placeholder="JSON"
          value={text}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      );
    default:
      return (
        <input
          {...common}
          // Not type=number: that hides what was typed wrong, and wheels change it by accident.
          type="text"
          inputMode={field.kind === 'integer' ? 'numeric' : field.kind === 'number' ? 'decimal' : 'text'}
          autocomplete="off"
          spellcheck={false}
          value={text}
          placeholder={field.required ? '' : 'left to the function'}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      );
  }
}
