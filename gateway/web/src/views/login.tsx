// Name and password in, a token out.

import { useState } from 'preact/hooks';
import { type Problem, toProblem, token } from '../api.ts';
import { loggedIn } from '../session.ts';

export function Login({ user = '' }: { user?: string }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);

  async function enter(event: Event): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const name = String(form.get('name'));
    setBusy(true);
    try {
      loggedIn(await token(name, String(form.get('password'))));
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  return (
    <form class="stack" onSubmit={enter}>
      <label>
        Name
        <input name="name" autocomplete="username" defaultValue={user} required autofocus={!user} />
      </label>
      <label>
        Password
        <input name="password" type="password" autocomplete="current-password" required autofocus={Boolean(user)} />
      </label>
      {problem && (
        <p class="notice bad" role="alert">
          {problem.message}
        </p>
      )}
      <button type="submit" class="primary" disabled={busy}>
        {busy ? 'Logging in …' : 'Log in'}
      </button>
    </form>
  );
}
