/** The answers of the API, as docs/reference/http.md has them. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export interface Models {
  models: { model: string; versions: Version[] }[];
}
export interface Version {
  version: string;
  predictions: number;
  first_at: string;
  last_at: string;
}

export interface Figure {
  value: number | null;
  low: number | null;
  high: number | null;
}
export interface Quality {
  model: string;
  task: string;
  as_of: string | null;
  rows: QualityRow[];
}
export interface QualityRow {
  from: string;
  to: string;
  version: string;
  predictions: number;
  labels: number;
  coverage: number | null;
  metrics: Record<string, Figure>;
}

export interface Drift {
  model: string;
  rows: DriftRow[];
}
export interface DriftRow {
  from: string;
  to: string;
  version: string;
  feature: string;
  predictions: number;
  missing_ratio: number | null;
  unseen_ratio: number | null;
  measures: Record<
    string,
    { value: number | null; threshold: number | null; p_value?: number | null; drifted: boolean }
  >;
  drifted: boolean;
}

export interface Predictions {
  predictions: Prediction[];
}
export interface Prediction {
  id: string;
  at: string;
  model: string;
  version: string;
  release: string;
  features: Record<string, Json>;
  prediction: Json;
  score: Json;
  latency_s: number | null;
  error: string | null;
  facts: { kind: string; value: Json; source: string; at: string }[];
}

export interface Logs {
  logs: LogLine[];
  count: number;
  next: string | null;
}
export interface LogLine {
  /** Stays the same; also a cursor for `before`. */
  id: string;
  at: string;
  message: string;
  level?: string;
  service?: string;
  host?: string;
  logger?: string;
  trace_id?: string;
  prediction_id?: string;
  attributes?: Json;
  [name: string]: Json | undefined;
}

export interface Releases {
  releases: Release[];
}
export interface Release {
  id: string;
  at: string;
  model: string;
  version: string;
  code: string;
  dirty: boolean;
  author: string;
  data_version: string;
  config_version: string;
  host: string;
  process: string;
  deployer: string;
  extra: Json;
}

export type AlertState = "pending" | "firing" | "acknowledged" | "resolved";
export interface Alerts {
  alerts: Alert[];
}
export interface Alert {
  id: string;
  rule: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  state: AlertState;
  since: string;
  value: number | null;
  silenced: boolean;
}
export interface Transitions {
  transitions: Transition[];
}
export interface Transition {
  at: string;
  alert: string;
  rule: string;
  labels: Record<string, string>;
  from: string;
  to: string;
  value: number | null;
}

export interface Timeline {
  timeline: Stretch[];
  truncated: boolean;
}
/** What ran over one time, in however many processes. */
export interface Stretch {
  id: string;
  model: string;
  version: string;
  role: "live" | "canary" | "shadow";
  code: string;
  dirty: boolean;
  patch: string;
  files: string;
  data_version: string;
  config_version: string;
  announced: string;
  first_prediction: string | null;
  last_prediction: string | null;
  predictions: number;
  releases: string[];
  hosts: string[];
  processes: number;
  authors: string[];
  deployers: string[];
  remote: string;
  branch: string;
  link: string;
}

export interface Shares {
  model: string;
  rows: { from: string | null; to: string | null; version: string; role: string; predictions: number; share: number | null }[];
}

export interface Changes {
  moment: string;
  since: string;
  model: string;
  changes: Change[];
  count: number;
}
export interface Change {
  at: string;
  before_s: number;
  kind: "release" | "configuration" | "push" | "tag" | "merge" | "deployment" | "training";
  near: "own" | "maybe" | "other";
  title: string;
  model: string;
  who: string;
  code: string;
  differences: { name: string; before: Json; after: Json }[];
  link: string;
  command: string;
  id: string;
}
