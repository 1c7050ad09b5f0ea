/** What the API tells of lineage and trainings, as docs/reference/http.md has it. */

import type { Json } from "../../state/words";

export const KINDS = ["data", "code", "configuration", "training", "model", "release", "predictions", "alert"] as const;
export type Kind = (typeof KINDS)[number];

export interface Lineage {
  nodes: Thing[];
  edges: Edge[];
  truncated: boolean;
}
export interface Thing {
  id: string;
  kind: Kind;
  name: string;
  at: string | null;
  details: Record<string, string | number | boolean | null>;
}
export interface Edge {
  source: string;
  target: string;
}

export interface Trainings {
  trainings: Training[];
}
export interface Training {
  id: string;
  model: string;
  version: string;
  status: "running" | "finished" | "failed";
  start: string;
  end: string | null;
  seconds: number | null;
  code: string;
  dirty: boolean;
  data_version: string;
  metrics: Record<string, Json>;
  parameters: Record<string, Json>;
  by: string;
  source: string;
  error: string;
  url: string;
}

export interface Diff {
  from: string;
  to: string;
  same: boolean;
  differences: { key: string; before: Json; after: Json; mark: string }[];
  hidden: string[];
}

/** A hash as people write it: without `md5:`, eight digits. */
export function short(hash: string): string {
  const bare = hash.replace(/^\w+:\s*/, "").replace(/\.dir$/, "");
  return /^[0-9a-f]{16,}$/.test(bare) ? bare.slice(0, 8) : bare;
}

/** A value as text; what is no text as JSON. */
export function said(value: Json | undefined): string {
  if (value === undefined || value === null) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
