// What the gateway sends, as far as this page reads it: contracts/*.py and gateway/api/*.py in TypeScript.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Fields = Record<string, Json>;

export type Role = 'viewer' | 'operator' | 'deployer' | 'admin';
export type State = 'starting' | 'up' | 'suspect' | 'draining' | 'down';
export type Topic = 'results' | 'progress' | 'events' | 'health' | 'modules' | 'logs';
export type JobState = 'queued' | 'running' | 'finished' | 'expired' | 'cancelled';
export type JobClass = 'live' | 'batch';

export interface AccessToken {
  access_token: string;
  expires_in: number;
  user: string;
  role: Role;
}

export interface Rollout {
  id: string;
  version: string;
  digest: string;
  strategy: { steps: number[]; hold_s: number; paired: boolean };
  step: number;
  weight: number;
}

export interface RolloutStep {
  at: string;
  version: string;
  what: 'started' | 'weight' | 'promoted' | 'rolled-back' | 'superseded';
  weight: number;
  reason: string;
  by: string;
}

export interface Side {
  version: string;
  calls: number;
  faults: number;
  failures: number;
  wait_p90_ns: number | null;
  run_p50_ns: number | null;
}

export interface Pairs {
  seen: number;
  alike: number;
  only_old_failed: number;
  only_new_failed: number;
  old_run_p50_ns: number | null;
  new_run_p50_ns: number | null;
}

export interface Comparison {
  old: Side;
  new: Side;
  pairs: Pairs | null;
}

export interface Deployment {
  function: string;
  version: string;
  digest: string;
  manifest: { summary: string; needs: string[]; limits: { concurrency: number; timeout: number; memory_mb: number } };
  workers: number;
  match: Record<string, string>;
  enabled: boolean;
  versions: Record<string, string>;
  size: number;
  uploaded_by: string;
  uploaded_at: string;
  previous: string;
  rollout: Rollout | null;
  history: RolloutStep[];
  /** By digest: who signed it, who uploaded it, when. */
  uploads: Record<string, { signature: { author: string }; by: string; at: string }>;
}

export interface FunctionView {
  name: string;
  deployment: Deployment;
  up: number;
  comparison: Comparison | null;
}

export interface Card {
  function: string;
  version: string;
  summary: string;
  params_schema: Schema;
  box: string;
  egress: string;
}

export interface FunctionDetail extends FunctionView {
  card: Card | null;
  instances: Module[];
}

export interface Schema {
  title?: string;
  description?: string;
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  enum?: Json[];
  const?: Json;
  default?: Json;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
}

export interface Health {
  instance: string;
  kind: string;
  state: State;
  at: string;
  node: string | null;
  function: string | null;
  version: string | null;
  in_flight: number;
  queue: number;
  limit: number;
  done: number;
  faults: number;
  rejected: number;
  breakers: string[];
  loop_lag_ns: number | null;
  rss_bytes: number | null;
  labels: Record<string, string>;
}

export interface Announcement {
  node: string;
  instance: string;
  function: string;
  version: string;
  digest: string;
  event: 'started' | 'ready' | 'draining' | 'stopped' | 'failed';
  at: string;
  reason: string;
  labels: Record<string, string>;
  card: Card | null;
  pid: number | null;
}

export interface Module {
  instance: string;
  kind: string;
  state: State;
  node: string | null;
  function: string | null;
  version: string | null;
  labels: Record<string, string>;
  age_s: number | null;
  last_event: Announcement['event'] | null;
  reason: string;
  box: string | null;
  egress: string | null;
  health: Health | null;
}

export interface JobRequest {
  function: string;
  params: Fields;
  node?: string | null;
  match?: Record<string, string>;
  class?: JobClass;
  deadline_s?: number;
}

export interface JobReceipt {
  job: string;
  place: string;
  queue_depth: number;
  expected_wait_ns: number | null;
}

export interface JobRow {
  id: string;
  function: string;
  state: JobState;
  place: string | null;
  class: JobClass | null;
  client: string | null;
  accepted: string | null;
  deadline: string | null;
  instance: string | null;
  node: string | null;
  attempt: number;
  ended: string | null;
  failure: string | null;
  reason: string;
}

export interface JobPage {
  jobs: JobRow[];
  after: string | null;
}

export interface CancelReply {
  job: string;
  state: 'cancelled' | 'ended';
  failure: string | null;
  repeated: boolean;
}

export interface JobEvent {
  job: string;
  event: 'accepted' | 'dispatched' | 'rerouted' | 'retried' | 'finished' | 'expired' | 'cancelled';
  at: string;
  by: string;
  function: string;
  reason: string;
  instance: string | null;
  attempt: number;
}

export interface Failure {
  code: string;
  blame: string;
  stage?: string;
  detail?: string;
}

export interface Result {
  job: string;
  function: string;
  by: string;
  started: string;
  duration_ns: number | null;
  version: string | null;
  digest: string | null;
  node: string | null;
  labels: Record<string, string>;
  params: Fields;
  accepted: string | null;
  attempt: number;
  target: string | null;
  address: string | null;
  clock: { source: string; synchronised: boolean | null; offset_ns: number | null; error_ns: number | null } | null;
  stamps: { tx: string | null; rx: string | null } | null;
  quality: { send_slip_ns: number | null; drops: number | null; loop_lag_ns: number | null } | null;
  failure: Failure | null;
  data: Fields | null;
  metrics: string[];
  provenance?: { digest: string; author: string; uploader: string; uploaded: string } | null;
}

export interface JobDetail {
  job: JobRow;
  request: JobRequest | null;
  events: JobEvent[];
  result: Result | null;
}

export interface Progress {
  job: string;
  instance: string;
  function: string;
  n: number;
  at: string;
  event: Fields;
}

export interface LogLine {
  at: string;
  level: string;
  instance: string;
  event: string;
  fields: Fields;
}

export interface Item {
  topic: Topic;
  seq: number;
  subject: string;
  data: unknown;
}

export type Cursor = [incarnation: string, sequence: number];

export interface Gap {
  type: 'gap';
  topic: Topic;
  reason: 'slow' | 'expired' | 'incarnation';
  missed: number | null;
  cursor: Cursor | null;
}

export type FeedMessage =
  | { type: 'ready'; user: string; role: Role; expires_in: number }
  | { type: 'renewed'; role: Role; expires_in: number }
  | { type: 'subscribed'; topics: Topic[] }
  | { type: 'batch'; items: Item[]; cursors: Partial<Record<Topic, Cursor>> }
  | Gap
  | { type: 'pong' }
  | { type: 'error'; reason: string; detail: string };
