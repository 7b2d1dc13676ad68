// A result: outcome, the values looked for first, the whole report, and how far to trust it.

import { between, duration, labels, moment, named } from '../format.ts';
import { Badge, Pairs } from '../pieces.tsx';
import { type Grid, gridsOf, groupsOf, outcomeOf, tilesOf } from '../report.ts';
import { link } from '../router.ts';
import type { Result } from '../types.ts';

const MOST_ROWS = 200;

export function ResultBlock({ result }: { result: Result }) {
  const { good, word, detail } = outcomeOf(result);
  const target = result.target === result.address ? result.target : [result.target, result.address].filter(Boolean);
  return (
    <div class="result" data-testid="result">
      <div class={`outcome ${good ? 'good' : 'bad'}`} role="status">
        <Badge word={word} tone={good ? 'good' : 'bad'} />
        <span>
          <strong>{result.function}</strong>
          {target && target.length > 0 && <> to {Array.isArray(target) ? target.join(', ') : target}</>}
          {result.node && <> from {result.node}</>}
          {result.duration_ns !== null && <> in {duration(result.duration_ns)}</>}
        </span>
        {result.failure && (
          <span>
            {detail}{' '}
            <span class="muted">
              ({result.failure.stage && `stage ${result.failure.stage}; `}up to the {result.failure.blame})
            </span>
          </span>
        )}
      </div>
      <ul class="tiles">
        {tilesOf(result.data).map((tile) => (
          <li key={tile.label}>
            <span class="muted">{tile.label}</span>
            <b>{tile.text}</b>
          </li>
        ))}
      </ul>
      {groupsOf(result.data).map((group) => (
        <section key={group.title} class="group">
          <h3>{group.title || 'report'}</h3>
          <Pairs values={group.values} />
        </section>
      ))}
      {gridsOf(result.data).map((grid) => (
        <Rows key={grid.title} grid={grid} />
      ))}
      <details>
        <summary>How far to trust it</summary>
        <Pairs values={trustOf(result)} />
      </details>
      <details>
        <summary>Raw JSON</summary>
        <pre class="raw">{JSON.stringify(result, null, 2)}</pre>
      </details>
    </div>
  );
}

function Rows({ grid }: { grid: Grid }) {
  const shown = grid.rows.slice(0, MOST_ROWS);
  return (
    <details open={grid.rows.length <= 20}>
      <summary>
        {grid.title} ({grid.rows.length})
      </summary>
      <div class="scroll short">
        <table>
          <thead>
            <tr>
              {grid.columns.map((column) => (
                <th key={column} class={column.endsWith('_ns') ? 'number' : ''}>
                  {named(column, null)[0]}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row, index) => (
              <tr key={index}>
                {grid.columns.map((column) => (
                  <td key={column} class={column.endsWith('_ns') ? 'number' : ''}>
                    {named(column, row[column])[1]}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown.length < grid.rows.length && (
        <p class="muted small">the first {shown.length}; all of them are in the raw JSON</p>
      )}
    </details>
  );
}

function offsetOf(clock: Result['clock']): string {
  if (clock?.offset_ns === null || clock?.offset_ns === undefined) return 'unknown';
  const bound = clock.error_ns === null ? '' : `, at most ${duration(clock.error_ns)} wrong`;
  return duration(clock.offset_ns) + bound;
}

function trustOf(result: Result): [string, preact.ComponentChildren][] {
  const { clock, stamps, quality } = result;
  const said = (value: boolean | null | undefined) => (value === true ? 'yes' : value === false ? 'no' : 'unknown');
  return [
    ['clock', clock ? `${clock.source}, synchronised: ${said(clock.synchronised)}` : 'unknown'],
    ['clock offset', offsetOf(clock)],
    ['stamps', `sent: ${stamps?.tx ?? 'none'}, received: ${stamps?.rx ?? 'none'}`],
    ['latest send', duration(quality?.send_slip_ns)],
    ['dropped here', quality?.drops ?? '–'],
    ['loop lag', duration(quality?.loop_lag_ns)],
    ['waited', duration(between(result.accepted, result.started))],
    ['started', moment(result.started)],
    ['attempt', result.attempt],
    ['stored by', <a href={link('log', '', { instance: result.by })}>{result.by}</a>],
    ['node', `${result.node ?? '–'} ${labels(result.labels)}`],
    ['bundle', `${result.version ?? '–'}, ${result.digest?.slice(0, 12) ?? '–'}`],
    ['signed by', result.provenance?.author ?? '–'],
    ['uploaded', result.provenance ? `${moment(result.provenance.uploaded)} by ${result.provenance.uploader}` : '–'],
    ['registered metrics', result.metrics.length ? result.metrics.join(', ') : 'none'],
  ];
}
