// The newest log lines, and which of them somebody wants to see.

import type { LogLine } from './types.ts';

export const LEVELS = ['debug', 'info', 'warning', 'error', 'critical'];
const MOST = 1_000;

export interface Line {
  seq: number;
  told: LogLine;
}

/** Lines, the newest first. */
export class Lines {
  all: Line[] = [];

  add(seq: number, told: LogLine): void {
    this.all.unshift({ seq, told });
    if (this.all.length > MOST) this.all.length = MOST;
  }
}

export interface Wanted {
  instance: string;
  function: string;
  job: string;
  level: string;
}

/** `functionOf` knows what an instance runs, for lines that do not say it themselves. */
export function passes({ told }: Line, wanted: Wanted, functionOf: ReadonlyMap<string, string>): boolean {
  const { fields } = told;
  if (wanted.level && LEVELS.indexOf(told.level) < LEVELS.indexOf(wanted.level)) return false;
  // An instance that a line speaks of counts too: the Anchor and runtimes tell about workers.
  if (wanted.instance && ![told.instance, fields.instance, fields.worker].some((one) => includes(one, wanted.instance))) return false;
  if (wanted.function && fields.function !== wanted.function && functionOf.get(told.instance) !== wanted.function) {
    return false;
  }
  return !wanted.job || includes(fields.job, wanted.job);
}

function includes(value: unknown, part: string): boolean {
  return typeof value === 'string' && value.includes(part);
}
