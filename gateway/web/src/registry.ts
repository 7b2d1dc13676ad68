// Who is there, from one look at the API and from what the feed tells after it; ages like gateway/registry.py.

import type { Announcement, Health, Item, Module, State } from './types.ts';

const SUSPECT_AFTER_MS = 2_500;
const DOWN_AFTER_MS = 5_000;
const FORGET_AFTER_MS = 60_000;

interface Seen {
  module: Module;
  /** When it was last heard of, and when its heart last beat, by this page's clock. */
  newest: number;
  beat: number | null;
}

export class Registry {
  private readonly seen = new Map<string, Seen>();

  /** Take the API's answer, which knows better than what was folded here. */
  load(modules: readonly Module[], now: number): void {
    this.seen.clear();
    for (const module of modules) {
      const beat = module.age_s === null ? null : now - module.age_s * 1000;
      this.seen.set(module.instance, { module, newest: beat ?? now, beat });
    }
  }

  /** Take one item of the topics `health` and `modules`. */
  take(item: Item, now: number): void {
    if (item.topic === 'health') this.beat(item.data as Health, now);
    if (item.topic === 'modules') this.announced(item.data as Announcement, now);
  }

  private beat(health: Health, now: number): void {
    const seen = this.entry(health.instance, health.kind, now);
    seen.module = {
      ...seen.module,
      node: seen.module.node ?? health.node,
      function: seen.module.function ?? health.function,
      version: seen.module.version ?? health.version,
      labels: Object.keys(seen.module.labels).length ? seen.module.labels : health.labels,
      health,
    };
    seen.beat = now;
  }

  private announced(told: Announcement, now: number): void {
    const seen = this.entry(told.instance, 'worker', now);
    seen.module = {
      ...seen.module,
      node: told.node,
      function: told.function,
      version: told.version,
      labels: told.labels,
      last_event: told.event,
      reason: told.reason,
      box: told.card?.box ?? seen.module.box,
      egress: told.card?.egress ?? seen.module.egress,
    };
  }

  private entry(instance: string, kind: string, now: number): Seen {
    const blank: Module = {
      instance,
      kind,
      state: 'starting',
      node: null,
      function: null,
      version: null,
      labels: {},
      age_s: null,
      last_event: null,
      reason: '',
      box: null,
      egress: null,
      health: null,
    };
    const seen = this.seen.get(instance) ?? { module: blank, newest: now, beat: null };
    seen.newest = now;
    this.seen.set(instance, seen);
    return seen;
  }

  /** Everyone known, each with its state of this moment. */
  list(now: number): Module[] {
    for (const [instance, seen] of this.seen) {
      if (now - seen.newest > FORGET_AFTER_MS) this.seen.delete(instance);
    }
    const found = [...this.seen.values()].map((seen) => ({ ...seen.module, state: stateOf(seen, now) }));
    return found.sort(
      (one, other) =>
        RANK.indexOf(one.kind) - RANK.indexOf(other.kind) ||
        (one.function ?? '').localeCompare(other.function ?? '') ||
        one.instance.localeCompare(other.instance),
    );
  }
}

const RANK = ['worker', 'runtime', 'anchor', 'gateway', 'authority'];

function stateOf(seen: Seen, now: number): State {
  const event = seen.module.last_event;
  if (event === 'stopped' || event === 'failed') return 'down';
  const silent = now - (seen.beat ?? seen.newest);
  if (silent > DOWN_AFTER_MS) return 'down';
  if (event === 'draining') return 'draining';
  const told = seen.module.health;
  if (!told) return 'starting';
  return silent > SUSPECT_AFTER_MS && told.state === 'up' ? 'suspect' : told.state;
}
