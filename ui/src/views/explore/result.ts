/** What a query gave, in one form for the chart and the table. */

import type { Unit } from "../../format";
import type { Labels } from "../../state/question.svelte";

export interface Prometheus {
  data: { resultType: "vector" | "matrix" | "scalar" | "string"; result: unknown };
}

export interface Found {
  labels: Labels;
  value: number | null;
  /** A text instead of a number. */
  text?: string;
}

type One = { metric: Labels; value?: [number, string]; values?: [number, string][] };

/** Gives the values of an answer at one moment. */
export function instant({ data }: Prometheus): Found[] {
  if (data.resultType === "scalar" || data.resultType === "string") {
    const [, text] = data.result as [number, string];
    return [{ labels: {}, value: Number(text), ...(data.resultType === "string" ? { text } : {}) }];
  }
  return (data.result as One[]).map(({ metric, value, values }) => {
    const text = (value ?? values?.at(-1))?.[1] ?? "";
    return { labels: metric, value: Number(text), ...(Number.isFinite(Number(text)) ? {} : { text }) };
  });
}

/** Gives a series' name as PromQL writes it. */
export function name(labels: Labels): string {
  const { __name__: metric = "", ...rest } = labels;
  const pairs = Object.entries(rest).map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return metric + (pairs.length || !metric ? `{${pairs.join(", ")}}` : "");
}

/** Gives labels in short: only those that tell the series apart. */
export function short(labels: Labels, apart: readonly string[]): string {
  return apart.filter((label) => labels[label]).map((label) => (label === "__name__" ? labels[label] : `${label}=${labels[label]}`)).join(", ");
}

/** Gives the labels that tell series apart, those with most values first, and what all series share. */
export function divided(all: readonly Labels[]): { apart: string[]; shared: Labels } {
  const found = new Map<string, Map<string, number>>();
  for (const labels of all) {
    for (const [label, value] of Object.entries(labels)) {
      const known = found.get(label) ?? new Map<string, number>();
      found.set(label, known.set(value, (known.get(value) ?? 0) + 1));
    }
  }
  const shared: Labels = {};
  const apart: [string, number][] = [];
  for (const [label, known] of found) {
    const [value = "", times = 0] = [...known][0] ?? [];
    if (all.length > 1 && known.size === 1 && times === all.length) shared[label] = value;
    else apart.push([label, known.size]);
  }
  return { apart: apart.sort(([, one], [, other]) => other - one).map(([label]) => label), shared };
}

/** Guesses the unit from the names in a query. */
export function unit(query: string): Unit {
  const perTime = /\b(?:rate|irate|deriv)\s*\(/.test(query);
  if (/\//.test(query)) return "";
  if (/_bytes\b/.test(query) && !perTime) return "bytes";
  if (/_ratio\b/.test(query)) return "ratio";
  if (/histogram_quantile[^]*_seconds_bucket/.test(query)) return "s";
  return "";
}
