/** The answers of the drift map and of one feature, as docs/reference/http.md has them, and how they are shown. */

import { zone } from "../../state/time.svelte";

export interface Traced {
  feature: string;
  numeric: boolean | null;
  rows: number[];
  missing: (number | null)[];
  values: (number | null)[];
  ratios: (number | null)[];
}

export interface DriftMap {
  model: string;
  version: string;
  measure: string;
  starts: string[];
  ends: string[];
  features: Traced[];
}

export interface Bin {
  from: number | null;
  to: number | null;
  name: string;
  kind: "range" | "name" | "other" | "unseen";
  reference: number | null;
  current: number | null;
}

export interface Side {
  rows: number;
  values: number;
  null: number;
  nan: number;
  infinite: number;
  misfits: number;
  mean: number | null;
}

export interface Verdict {
  value: number | null;
  threshold: number | null;
  p_value: number | null;
  drifted: boolean;
}

export interface Compared {
  model: string;
  version: string;
  feature: string;
  from: string;
  to: string;
  numeric: boolean;
  against: "reference" | "first week";
  reference: Side;
  current: Side;
  bins: Bin[];
  unseen_ratio: number | null;
  measures: Record<string, Verdict>;
}

export type Period = "hour" | "day" | "week" | "month";
export const PERIODS: readonly Period[] = ["hour", "day", "week", "month"];

/** Gives the period that makes some dozens of columns of a span. */
export function periodFor(span_s: number): Period {
  const days = span_s / 86_400;
  return days <= 4 ? "hour" : days <= 120 ? "day" : days <= 1100 ? "week" : "month";
}

/** The zone in which days begin; cells are hourly, so only zones of whole hours can be asked for. */
export function days(): string {
  if (zone.name === "UTC" || new Date().getTimezoneOffset() % 60) return "UTC";
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

/** One feature in the list, with what it is sorted by. */
export interface Line {
  name: string;
  values: (number | null)[];
  note: string;
  numeric: boolean | null;
  /** Largest multiple of the threshold in the range. */
  most: number | null;
  /** Where that was. */
  place: number;
  /** The multiple in the newest period with enough values. */
  now: number | null;
  /** The measure itself there where it was largest. */
  value: number | null;
  missing: number | null;
  /** There is something to compare with. */
  compared: boolean;
}

export const SORTS = ["effect", "now", "missing", "name"] as const;
export type Sort = (typeof SORTS)[number];

/** Gives the features as lines, without an order. */
export function lines(features: readonly Traced[]): Line[] {
  return features.map((one) => {
    let place = -1;
    let most: number | null = null;
    one.ratios.forEach((ratio, at) => {
      if (ratio !== null && (most === null || ratio > most)) [most, place] = [ratio, at];
    });
    let missing: number | null = null;
    for (const part of one.missing) if (part !== null && (missing === null || part > missing)) missing = part;
    return {
      name: one.feature,
      values: one.ratios,
      note: most === null ? "" : `${multiple(most)}`,
      numeric: one.numeric,
      most,
      place,
      now: one.ratios.findLast((ratio) => ratio !== null) ?? null,
      value: place < 0 ? null : (one.values[place] ?? null),
      missing,
      compared: one.values.some((value) => value !== null),
    };
  });
}

/** Gives a multiple of a threshold, such as `2.4×`. */
export function multiple(ratio: number | null): string {
  if (ratio === null) return "–";
  return `${ratio >= 100 ? Math.round(ratio) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2)}×`;
}

/** Puts lines in order; those without a value come last. */
export function sorted(all: readonly Line[], by: Sort): Line[] {
  const key = { effect: (line: Line) => line.most, now: (line: Line) => line.now, missing: (line: Line) => line.missing };
  const named = (a: Line, b: Line) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  if (by === "name") return [...all].sort(named);
  const value = key[by];
  return [...all].sort((a, b) => (value(b) ?? -1) - (value(a) ?? -1) || Number(b.compared) - Number(a.compared) || named(a, b));
}
