// The live feed: one WebSocket, one subscription at a time, connected again whenever it is lost.

import { signal } from '@preact/signals';
import { Cursors } from './cursors.ts';
import type { FeedMessage, Gap, Item, Topic } from './types.ts';

export type Link = 'off' | 'connecting' | 'live' | 'lost';

export interface Wish {
  topics: Topic[];
  job?: string;
  function?: string;
  /** Begin so many items before the end instead of at the end. */
  tail?: number;
}

export interface Follower {
  items(items: Item[]): void;
  gap?(gap: Gap): void;
}

/** What is used of a WebSocket, so that tests can stand in for it. */
export type Socket = Pick<WebSocket, 'onmessage' | 'onclose' | 'send' | 'close'>;

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 15_000;
const PING_EVERY_MS = 15_000;
const PONG_WITHIN_MS = 8_000;
const NOT_ADMITTED = 4401;

export class Feed {
  readonly link = signal<Link>('off');
  private readonly open: () => Socket | null;
  private readonly refused: () => void;
  private socket: Socket | null = null;
  private wish: Wish | null = null;
  private follower: Follower | null = null;
  private cursors = new Cursors([]);
  /** Subscriptions that were sent and not confirmed: what comes before belongs to the former one. */
  private unconfirmed = 0;
  private failures = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private pinging: ReturnType<typeof setInterval> | undefined;
  private deadline: ReturnType<typeof setTimeout> | undefined;

  /** `open` makes a socket, null while nobody is logged in; `refused` is called when the token is not taken. */
  constructor(open: () => Socket | null, refused: () => void) {
    this.open = open;
    this.refused = refused;
  }

  /** Follow something, in place of what was followed before. Returns what ends it. */
  follow(wish: Wish, follower: Follower): () => void {
    this.wish = wish;
    this.follower = follower;
    this.cursors = new Cursors(wish.topics, wish.tail);
    if (this.link.value === 'live') this.subscribe();
    else this.connect();
    return () => {
      if (this.follower === follower) this.follower = this.wish = null;
    };
  }

  /** Connect now, unless there is a connection: after a login, or when the network is back. */
  connect(): void {
    if (this.socket) return;
    clearTimeout(this.retry);
    const socket = this.open();
    if (!socket) return;
    this.socket = socket;
    this.link.value = this.failures ? 'lost' : 'connecting';
    socket.onmessage = (event) => this.receive(JSON.parse(String(event.data)) as FeedMessage);
    socket.onclose = (event) => this.closed(socket, event.code);
  }

  /** Let the connection last as long as a new token of the same user. */
  renew(token: string): void {
    if (this.link.value === 'live') this.socket?.send(JSON.stringify({ type: 'auth', token }));
  }

  close(): void {
    clearTimeout(this.retry);
    const socket = this.socket;
    this.forget();
    this.failures = 0;
    this.link.value = 'off';
    socket?.close();
  }

  private forget(): void {
    if (this.socket) this.socket.onmessage = this.socket.onclose = null;
    this.socket = null;
    this.unconfirmed = 0;
    clearInterval(this.pinging);
    clearTimeout(this.deadline);
    this.deadline = undefined;
  }

  private closed(socket: Socket, code: number): void {
    if (socket !== this.socket) return;
    this.forget();
    if (code === NOT_ADMITTED) {
      this.link.value = 'off';
      this.refused();
      return;
    }
    this.link.value = 'lost';
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures);
    this.failures += 1;
    // Spread, so that a gateway that comes back is not met by everyone at the same moment.
    this.retry = setTimeout(() => this.connect(), wait * (0.5 + Math.random() / 2));
  }

  private receive(message: FeedMessage): void {
    switch (message.type) {
      case 'ready':
        this.failures = 0;
        this.link.value = 'live';
        this.pinging = setInterval(() => this.ping(), PING_EVERY_MS);
        this.subscribe();
        break;
      case 'subscribed':
        this.unconfirmed -= 1;
        break;
      case 'batch':
        if (this.unconfirmed > 0) return;
        this.cursors.take(message.cursors);
        this.follower?.items(message.items);
        break;
      case 'gap':
        if (this.unconfirmed > 0) return;
        if (this.cursors.gap(message)) this.subscribe();
        else this.follower?.gap?.(message);
        break;
      case 'pong':
        clearTimeout(this.deadline);
        this.deadline = undefined;
        break;
      case 'renewed':
        break;
      case 'error':
        break; // the close that follows tells the same by its code
    }
  }

  private subscribe(): void {
    if (!this.wish || !this.socket) return;
    const { topics, job, function: name } = this.wish;
    this.unconfirmed += 1;
    this.socket.send(JSON.stringify({ type: 'subscribe', topics, job, function: name, since: this.cursors.since() }));
  }

  /** A connection that died without a word is noticed by the silence. */
  private ping(): void {
    const socket = this.socket;
    if (!socket || this.deadline !== undefined) return;
    socket.send('{"type":"ping"}');
    this.deadline = setTimeout(() => {
      socket.close();
      this.closed(socket, 1006);
    }, PONG_WITHIN_MS);
  }
}
