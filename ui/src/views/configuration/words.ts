/** What the API tells of configurations, as docs/reference/http.md has it. */

import type { Json } from "../../state/words";

export interface Configurations {
  configurations: Held[];
}
/** What holds in one process. */
export interface Held {
  process: string;
  host: string;
  service: string;
  name: string;
  hash: string;
  applied: string;
  source: string;
  author: string;
  reason: string;
  live: boolean;
  seen: string | null;
  tree: Json;
  marks: Record<string, string>;
}

export interface Version {
  hash: string;
  first: string;
  tree: Json;
  marks: Record<string, string>;
  processes: string[];
}

export interface Difference {
  key: string;
  before: Json;
  after: Json;
  mark: string;
}
export interface Diff {
  from: string;
  to: string;
  same: boolean;
  differences: Difference[];
  hidden: string[];
}

export interface History {
  changes: Change[];
}
export interface Change {
  id: string;
  at: string;
  state: string;
  hash: string;
  previous: string;
  name: string;
  source: string;
  author: string;
  reason: string;
  error: string;
  differences: Difference[];
  process: string;
  host: string;
}

export interface Blame {
  key: string;
  blame: { at: string; value: Json; mark: string; state: string; author: string; reason: string; source: string; hash: string; process: string }[];
}

export const MASK = "***";

/** A value as it would be written; texts without quotes. */
export function written(value: Json | undefined): string {
  if (value === undefined || value === null) return value === null ? "null" : "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A row of the tree: a branch with what is below it, or a leaf with its value. */
export interface Row {
  path: string;
  name: string;
  depth: number;
  /** How many are below; -1 for a leaf. */
  below: number;
  value: Json;
  mark: string;
}

/** Gives all rows of a tree in its order, branches before what is below them. */
export function rows(tree: Json, marks: Record<string, string>, path = "", depth = 0): Row[] {
  if (tree === null || typeof tree !== "object") return [];
  const list = Array.isArray(tree);
  return Object.entries(tree).flatMap(([name, value]) => {
    const here = list ? `${path}[${name}]` : path ? `${path}.${name}` : name;
    const branch = value !== null && typeof value === "object" && (!Array.isArray(value) || value.some((one) => one !== null && typeof one === "object"));
    const below = branch ? Object.keys(value).length : 0;
    const row: Row = { path: here, name: list ? `[${name}]` : name, depth, below: below || -1, value, mark: marks[here] ?? "" };
    return below ? [row, ...rows(value, marks, here, depth + 1)] : [row];
  });
}

/** Keeps leaves whose path, value or place holds all words, and the branches above them. */
export function search(all: readonly Row[], text: string): Row[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [...all];
  const kept = new Set<string>();
  const above: Row[] = [];
  for (const row of all) {
    above.length = row.depth;
    above[row.depth] = row;
    if (row.below >= 0) continue;
    const whole = `${row.path} ${written(row.value)} ${row.mark}`.toLowerCase();
    if (words.every((word) => whole.includes(word))) for (const one of above) kept.add(one.path);
  }
  return all.filter((row) => kept.has(row.path));
}
