// Upload a wheel: drop it or choose it; what the gateway refuses is shown with the rule.

import { useRef, useState } from 'preact/hooks';
import { type Problem, toProblem, upload } from '../api.ts';
import { bytes } from '../format.ts';
import { needs, Trouble } from '../pieces.tsx';
import type { Deployment } from '../types.ts';

export function Upload({ onDone }: { onDone(deployment: Deployment): void }) {
  const [over, setOver] = useState(false);
  const [sending, setSending] = useState<{ name: string; ratio: number } | null>(null);
  const [done, setDone] = useState<Deployment | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [workers, setWorkers] = useState('');
  const [match, setMatch] = useState('');
  const input = useRef<HTMLInputElement>(null);
  const off = needs('deployer');

  async function send(file: File | null | undefined): Promise<void> {
    if (!file || sending || off.disabled) return;
    setProblem(null);
    setDone(null);
    setSending({ name: file.name, ratio: 0 });
    try {
      const pairs = match.trim() ? match.trim().split(/[\s,]+/) : null;
      const progress = (ratio: number) => setSending({ name: file.name, ratio });
      const deployment = await upload({ file, workers, match: pairs, progress });
      setDone(deployment);
      onDone(deployment);
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setSending(null);
      // The same file may be chosen again, after it was built anew.
      if (input.current) input.current.value = '';
    }
  }

  return (
    <section aria-label="Upload a function">
      <div
        class={`drop ${over ? 'over' : ''} ${off.disabled ? 'off' : ''}`}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          void send(event.dataTransfer?.files[0]);
        }}
      >
        <label class="pick">
          <span class="button">Choose a wheel</span>
          <input
            ref={input}
            type="file"
            accept=".whl"
            {...off}
            disabled={off.disabled || sending !== null}
            onChange={(event) => void send(event.currentTarget.files?.[0])}
          />
        </label>
        <span class="muted">
          {off.title ?? 'or drop it here. It is checked without being run, then every node that matches loads it.'}
        </span>
        <details>
          <summary>Where to run it</summary>
          <div class="row">
            <label>
              Workers per node
              <input
                type="number"
                min="0"
                max="64"
                value={workers}
                placeholder="as before, or 1"
                onInput={(event) => setWorkers(event.currentTarget.value)}
              />
            </label>
            <label>
              Only nodes with labels
              <input
                value={match}
                placeholder="site=fra asn=64500"
                onInput={(event) => setMatch(event.currentTarget.value)}
              />
            </label>
          </div>
        </details>
      </div>
      {sending && (
        <p class="notice" role="status">
          <span>
            {sending.ratio < 1 ? 'Sending' : 'Checking'} <code>{sending.name}</code>
          </span>
          <progress value={sending.ratio} max={1} aria-label="sent" />
        </p>
      )}
      <Trouble problem={problem} title="The upload was refused" />
      {done && (
        <p class="notice good" role="status">
          <span>
            <strong>
              {done.function} {done.version}
            </strong>{' '}
            is stored ({bytes(done.size)}); the nodes below say how far they are.
          </span>
        </p>
      )}
    </section>
  );
}
