import { render } from 'preact';
import { App } from './app.tsx';
import { start as startFeed } from './live.ts';
import { start as startRouter } from './router.ts';
import { restore } from './session.ts';
import 'uplot/dist/uPlot.min.css';
import './style.css';

const root = document.getElementById('app');
if (root) {
  void restore();
  startRouter();
  startFeed();
  render(<App />, root);
}
