// Where the feed stands, per topic, so that a new connection goes on where the last one was cut off.

import type { Cursor, Gap, Topic } from './types.ts';

/** Behind the end of any stream: the gateway answers with a gap that says where the end is. */
export const BEYOND = Number.MAX_SAFE_INTEGER;

/** Cursors of one subscription. `tail`: begin so many items before the end of each topic. */
export class Cursors {
  private readonly seen = new Map<Topic, Cursor>();
  private readonly seeking: Set<Topic>;
  private readonly tail: number;

  constructor(topics: readonly Topic[], tail = 0) {
    this.tail = tail;
    this.seeking = new Set(tail > 0 ? topics : []);
  }

  /** What goes into a subscription; undefined when there is nothing to resume. */
  since(): Record<string, Cursor | number> | undefined {
    const found: Record<string, Cursor | number> = {};
    for (const topic of this.seeking) found[topic] = BEYOND;
    for (const [topic, cursor] of this.seen) found[topic] = cursor;
    return Object.keys(found).length ? found : undefined;
  }

  take(cursors: Partial<Record<Topic, Cursor>>): void {
    for (const [topic, cursor] of Object.entries(cursors)) {
      this.seeking.delete(topic as Topic);
      this.seen.set(topic as Topic, cursor);
    }
  }

  /** Take a gap in. True when it is the answer to a search for the end: then subscribe anew, nothing was missed. */
  gap(gap: Gap): boolean {
    if (this.seeking.delete(gap.topic) && gap.reason === 'incarnation' && gap.cursor) {
      this.seen.set(gap.topic, [gap.cursor[0], Math.max(0, gap.cursor[1] - this.tail)]);
      return true;
    }
    if (gap.cursor) this.seen.set(gap.topic, gap.cursor);
    return false;
  }
}
