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

/** Gives the labels that tell the series apart, those with most values first. */
export function columns(all: readonly Labels[]): string[] {
  const found = new Map<string, Set<string>>();
  for (const labels of all) for (const [label, value] of Object.entries(labels)) found.set(label, (found.get(label) ?? new Set()).add(value));
  return [...found].sort(([, one], [, other]) => other.size - one.size).map(([label]) => label);
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
