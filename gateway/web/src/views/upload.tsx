// Upload a wheel and its signature: drop both or choose both; what the gateway refuses is shown with the rule.

import { useRef, useState } from 'preact/hooks';
import { Problem, toProblem, upload } from '../api.ts';
import { bytes } from '../format.ts';
import { lineOf, pickedOf } from '../picked.ts';
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

  async function send(files: FileList | null | undefined): Promise<void> {
    if (!files?.length || sending || off.disabled) return;
    const picked = pickedOf(files);
    setProblem(null);
    setDone(null);
    if (picked === null) {
      setProblem(new Problem(0, 'choose the wheel and its .sig file together', 'no-wheel'));
      return;
    }
    const file = picked.wheel;
    setSending({ name: file.name, ratio: 0 });
    try {
      const signature = picked.signature ? lineOf(await picked.signature.text()) : '';
      const pairs = match.trim() ? match.trim().split(/[\s,]+/) : null;
      const progress = (ratio: number) => setSending({ name: file.name, ratio });
      const deployment = await upload({ file, signature, workers, match: pairs, progress });
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
          void send(event.dataTransfer?.files);
        }}
      >
        <label class="pick">
          <span class="button">Choose a wheel and its .sig</span>
          <input
            ref={input}
            type="file"
            accept=".whl,.sig"
            multiple
            {...off}
            disabled={off.disabled || sending !== null}
            onChange={(event) => void send(event.currentTarget.files)}
          />
        </label>
        <span class="muted">
          {off.title ??
            'or drop both here; `mmn key sign WHEEL` makes the signature. The wheel is checked without being run, then every node that matches and trusts its author loads it.'}
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
