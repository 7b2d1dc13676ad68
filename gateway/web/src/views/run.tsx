// Run a function: a form made from its schema on one side, what becomes of the job on the other.

import { useEffect, useState } from 'preact/hooks';
import * as api from '../api.ts';
import { type Problem, toProblem } from '../api.ts';
import { useLoad } from '../live.ts';
import { Empty, Head, needs, Trouble } from '../pieces.tsx';
import { go, link } from '../router.ts';
import { collect, fieldOfProblem, fieldsOf, textOf } from '../schema.ts';
import { SchemaFields } from '../schema-form.tsx';
import type { FunctionDetail, JobClass, JobRequest } from '../types.ts';
import { JobPanel } from './job.tsx';

export function RunView({ name, query }: { name: string; query: Record<string, string> }) {
  const functions = useLoad(api.functions);
  const first = functions.data?.[0]?.name;
  useEffect(() => {
    if (!name && first) go(link('run', first), { replace: true });
  }, [name, first]);
  const { job = '', from = '' } = query;
  const known = functions.data ?? [];
  return (
    <>
      <Head title="Run">
        <label class="inline">
          Function
          <select value={name} onChange={(event) => go(link('run', event.currentTarget.value))}>
            {!known.some((one) => one.name === name) && <option value={name}>{name || 'none yet'}</option>}
            {known.map((one) => (
              <option key={one.name} value={one.name}>
                {one.name}
                {one.deployment.enabled ? '' : ' (disabled)'}
              </option>
            ))}
          </select>
        </label>
      </Head>
      <Trouble problem={functions.problem} />
      {functions.data && !known.length && (
        <Empty>
          No function is deployed yet: <a href={link('functions')}>upload one</a>.
        </Empty>
      )}
      {name && (
        <div class="split">
          <Form key={`${name} ${from}`} name={name} from={from} />
          {job ? (
            <JobPanel key={job} id={job} show />
          ) : (
            <Empty>Packets and the result appear here, as they come.</Empty>
          )}
        </div>
      )}
    </>
  );
}

async function load(name: string, from: string): Promise<{ detail: FunctionDetail; request: JobRequest | null }> {
  const [detail, former] = await Promise.all([api.functionNamed(name), from ? api.job(from) : null]);
  return { detail, request: former?.request ?? null };
}

function Form({ name, from }: { name: string; from: string }) {
  const { data, problem } = useLoad(() => load(name, from), [name, from]);
  if (!data) return <div>{problem ? <Trouble problem={problem} /> : <Empty>Loading …</Empty>}</div>;
  return <Ready detail={data.detail} request={data.request} />;
}

const ANYWHERE = '';
const LABELS = '*';

function Ready({ detail, request }: { detail: FunctionDetail; request: JobRequest | null }) {
  const fields = detail.card ? fieldsOf(detail.card.params_schema) : [];
  const [texts, setTexts] = useState<Record<string, string>>(() =>
    Object.fromEntries(
      fields.map((field) => [
        field.name,
        request && field.name in request.params ? textOf(field, request.params[field.name]) : field.initial,
      ]),
    ),
  );
  const former = Object.entries(request?.match ?? {});
  const [place, setPlace] = useState(request?.node ?? (former.length ? LABELS : ANYWHERE));
  const [match, setMatch] = useState(former.map((pair) => pair.join('=')).join(' '));
  const [jobClass, setJobClass] = useState<JobClass>(request?.class ?? 'live');
  const [deadline, setDeadline] = useState(String(request?.deadline_s ?? 120));
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    const { params, errors: found } = collect(fields, texts);
    if (!(Number(deadline) > 0)) found.deadline = 'must be more than 0 seconds';
    const pairs = place === LABELS ? readLabels(match) : {};
    if (pairs === null) found.match = 'must be like site=fra asn=64500';
    setErrors(found);
    setProblem(null);
    if (Object.keys(found).length || pairs === null) {
      focusFirstError();
      return;
    }
    const wanted: JobRequest = { function: detail.name, params, class: jobClass, deadline_s: Number(deadline) };
    if (place === LABELS) wanted.match = pairs;
    else if (place !== ANYWHERE) wanted.node = place;
    setBusy(true);
    try {
      const receipt = await api.submit(wanted);
      go(link('run', detail.name, { job: receipt.job }));
    } catch (error) {
      const told = toProblem(error);
      const at = fieldOfProblem(told.field, fields) ?? FORM_FIELDS[told.field ?? ''];
      // Beside the field it is about when that is on the screen, else below the button.
      if (at) setErrors({ [at]: shortened(told) });
      setProblem(told);
    } finally {
      setBusy(false);
    }
  }

  const nodes = [...new Set(detail.instances.flatMap((one) => (one.node && one.state === 'up' ? [one.node] : [])))];
  const off = needs('operator');
  return (
    <form class="card stack" onSubmit={submit} noValidate aria-label={`Run ${detail.name}`}>
      <p class="muted">
        <strong>
          {detail.name} {detail.deployment.version}
        </strong>
        : {detail.deployment.manifest.summary}
      </p>
      {!detail.card && <p class="notice warn">No worker was ready yet, so the parameters are not known.</p>}
      <SchemaFields
        fields={fields}
        texts={texts}
        errors={errors}
        onChange={(field, text) => setTexts((before) => ({ ...before, [field]: text }))}
      />
      <fieldset>
        <legend>Where and how</legend>
        <div class="fields tight">
          <Line id="place" label="Place" error={errors.node}>
            <select id="place" value={place} onChange={(event) => setPlace(event.currentTarget.value)}>
              <option value={ANYWHERE}>anywhere</option>
              {[...new Set([...nodes, ...(place && place !== LABELS ? [place] : [])])].sort().map((node) => (
                <option key={node} value={node}>
                  node {node}
                </option>
              ))}
              <option value={LABELS}>by labels …</option>
            </select>
          </Line>
          {place === LABELS && (
            <Line id="match" label="Labels" error={errors.match}>
              <input
                id="match"
                value={match}
                placeholder="site=fra asn=64500"
                aria-invalid={Boolean(errors.match)}
                onInput={(event) => setMatch(event.currentTarget.value)}
              />
            </Line>
          )}
          <Line id="class" label="Class">
            <select
              id="class"
              value={jobClass}
              onChange={(event) => setJobClass(event.currentTarget.value as JobClass)}
            >
              <option value="live">live</option>
              <option value="batch">batch (may wait)</option>
            </select>
          </Line>
          <Line id="deadline" label="Deadline (s)" error={errors.deadline}>
            <input
              id="deadline"
              inputMode="decimal"
              value={deadline}
              aria-invalid={Boolean(errors.deadline)}
              onInput={(event) => setDeadline(event.currentTarget.value)}
            />
          </Line>
        </div>
      </fieldset>
      <button type="submit" class="primary" {...off} disabled={busy || off.disabled}>
        {busy ? 'Submitting …' : 'Run'}
      </button>
      <Trouble problem={problem} title="Not accepted" />
    </form>
  );
}

interface LineProps {
  id: string;
  label: string;
  error?: string | undefined;
  children: preact.ComponentChildren;
}

function Line({ id, label, error, children }: LineProps) {
  return (
    <div class={`field ${error ? 'wrong' : ''}`}>
      <label for={id}>{label}</label>
      {children}
      {error && (
        <p class="wrong" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

/** Fields of the request that are not parameters, by their name in a problem. */
const FORM_FIELDS: Record<string, string> = { node: 'node', match: 'match', deadline_s: 'deadline' };

/** A problem begins with the path of its field, which is not news beside the field itself. */
function shortened(problem: Problem): string {
  const prefix = `${problem.field}: `;
  return problem.message.startsWith(prefix) ? problem.message.slice(prefix.length) : problem.message;
}

function readLabels(text: string): Record<string, string> | null {
  const pairs = text.trim().split(/[\s,]+/).map((word) => word.split('='));
  if (!pairs.every((pair) => pair.length === 2 && pair[0] && pair[1])) return null;
  return Object.fromEntries(pairs as [string, string][]);
}

function focusFirstError(): void {
  // After the errors are on the screen.
  requestAnimationFrame(() => document.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus());
}
