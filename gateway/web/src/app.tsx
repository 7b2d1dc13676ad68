// The frame: navigation, connection, who is logged in, and the view that the address names.

import { useEffect, useRef } from 'preact/hooks';
import { feed } from './live.ts';
import { GapNotice } from './pieces.tsx';
import { link, route, type View, VIEWS } from './router.ts';
import { ended, logOut, session, settled } from './session.ts';
import { FunctionsView } from './views/functions.tsx';
import { JobView } from './views/job.tsx';
import { JobsView } from './views/jobs.tsx';
import { LogView } from './views/log.tsx';
import { Login } from './views/login.tsx';
import { ModulesView } from './views/modules.tsx';
import { RunView } from './views/run.tsx';

const TITLES: Record<View, string> = {
  modules: 'Modules',
  functions: 'Functions',
  run: 'Run',
  jobs: 'Jobs',
  log: 'Log',
};

const LINKS = {
  off: ['calm', 'not connected'],
  connecting: ['busy', 'connecting'],
  live: ['good', 'live'],
  lost: ['bad', 'connection lost, trying again'],
} as const;

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" />
      <path d="M4 17h6l3-8 5 14 3-6h7" />
    </svg>
  );
}

function Connection() {
  const [tone, words] = LINKS[feed.link.value];
  return (
    <span class={`connection ${tone}`} role="status">
      <span class="dot" aria-hidden="true" />
      {words}
    </span>
  );
}

function Current() {
  const { view, id, query } = route.value;
  switch (view) {
    case 'functions':
      return <FunctionsView />;
    case 'run':
      return <RunView name={id} query={query} />;
    case 'jobs':
      return id ? <JobView key={id} id={id} /> : <JobsView query={query} />;
    case 'log':
      return <LogView query={query} />;
    default:
      return <ModulesView />;
  }
}

export function App() {
  const who = session.value;
  document.title = who ? `${TITLES[route.value.view]} · mmn` : 'mmn';
  if (!who) {
    if (!settled.value) return null;
    return (
      <main class="front">
        <div class="card">
          <div class="brand">
            <Mark />
            <h1>mmn</h1>
          </div>
          <p>Measure from every vantage point you have.</p>
          <Login />
        </div>
      </main>
    );
  }
  return (
    <>
      <a class="skip" href="#content" onClick={skip}>
        Skip to content
      </a>
      <header class="bar">
        <a class="brand" href={link('modules')} aria-label="mmn, modules">
          <Mark />
          <span>mmn</span>
        </a>
        <nav aria-label="Views">
          {VIEWS.map((view) => (
            <a key={view} href={link(view)} aria-current={route.value.view === view ? 'page' : undefined}>
              {TITLES[view]}
            </a>
          ))}
        </nav>
        <div class="session">
          <Connection />
          <span class="who" title={`role ${who.role}`}>
            {who.user}
          </span>
          <button type="button" class="quiet" onClick={logOut}>
            Log out
          </button>
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        <GapNotice />
        <Current />
      </main>
      {ended.value && <Again user={who.user} />}
    </>
  );
}

/** The hash is taken by the router, so the jump is made by hand. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('content')?.focus();
}

function Again({ user }: { user: string }) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => box.current?.showModal(), []);
  return (
    <dialog class="card" aria-label="Log in again" ref={box} onCancel={stay}>
      <h2>Your login has ended</h2>
      <p>Log in again to go on where you are.</p>
      <Login user={user} />
      <button type="button" class="quiet" onClick={logOut}>
        Leave instead
      </button>
    </dialog>
  );
}

function stay(event: Event): void {
  event.preventDefault();
}
