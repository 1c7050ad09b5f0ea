/** What a report says, made of the answers of the API. */

import type { Alert, Drift, DriftRow, Quality, QualityRow, Shares, Stretch, Transition } from "../../state/words";

/** Figures that suit the task, the one that counts most first. */
export const METRICS: Record<string, readonly string[]> = {
  binary: ["auc", "accuracy", "brier", "calibration"],
  multiclass: ["accuracy", "macro_f1", "log_loss"],
  classes: ["accuracy", "macro_f1", "log_loss"],
  regression: ["mae", "rmse", "r2", "bias"],
};

/** Gives the metrics of the task that were measured. */
export function measured(quality: Quality | null): string[] {
  const rows = quality?.rows ?? [];
  const known = [...new Set(rows.flatMap((row) => Object.keys(row.metrics)))];
  const wanted = (METRICS[quality?.task ?? ""] ?? []).filter((name) => known.includes(name));
  return wanted.length ? wanted : known.slice(0, 4);
}

/** Whether two intervals do not touch; null when either is not known. */
export function apart(one: QualityRow | undefined, other: QualityRow | undefined, metric: string): boolean | null {
  const [a, b] = [one?.metrics[metric], other?.metrics[metric]];
  if (a?.low == null || a.high == null || b?.low == null || b.high == null) return null;
  return a.high < b.low || b.high < a.low;
}

export interface Drifting {
  version: string;
  rows: DriftRow[];
  drifted: number;
}

/** Gives the inputs of one version, what moved most first; the model's own outputs (`@score`) are none. */
export function drifting(drift: Drift | null, version: string): Drifting {
  const rows = (drift?.rows ?? []).filter((row) => row.version === version && !row.feature.startsWith("@") && row.measures["psi"]);
  const psi = (row: DriftRow) => row.measures["psi"]?.value ?? -1;
  rows.sort((a, b) => psi(b) - psi(a));
  return { version, rows, drifted: rows.filter((row) => row.measures["psi"]?.drifted).length };
}

export interface Episode {
  rule: string;
  severity: string;
  /** ms since 1970 of the first firing. */
  first: number;
  times: number;
  firing_s: number;
  isFiring: boolean;
}

/**
 * Gives each rule that fired about a model within a period: how often, and how long together.
 *
 * @param active alerts of now, for those that fired before the period and never ended
 */
export function episodes(transitions: readonly Transition[], active: readonly Alert[], model: string, start: number, end: number): Episode[] {
  const found = new Map<string, Episode>();
  const since = new Map<string, number>();
  const take = (rule: string, severity: string, at: number) => {
    const known = found.get(rule) ?? { rule, severity, first: at, times: 0, firing_s: 0, isFiring: false };
    known.times++;
    found.set(rule, known);
  };
  const close = (alert: string, rule: string, at: number) => {
    const known = found.get(rule);
    const begun = since.get(alert);
    if (known && begun !== undefined) known.firing_s += Math.max(0, (at - begun) / 1000);
    since.delete(alert);
  };
  const own = transitions.filter((one) => one.labels["model"] === model).sort((a, b) => a.at.localeCompare(b.at));
  for (const one of own) {
    const at = Date.parse(one.at);
    if (one.to === "firing" && !since.has(one.alert)) {
      take(one.rule, one.labels["severity"] ?? "", at);
      since.set(one.alert, at);
    } else if (one.to === "resolved" || one.to === "inactive") close(one.alert, one.rule, at);
  }
  for (const one of active) {
    if (one.labels["model"] !== model || (one.state !== "firing" && one.state !== "acknowledged")) continue;
    const at = Date.parse(one.since);
    if (at >= end) continue;
    if (!since.has(one.id)) {
      take(one.rule, one.labels["severity"] ?? "", Math.max(at, start));
      since.set(one.id, Math.max(at, start));
    }
    const known = found.get(one.rule);
    if (known) known.isFiring = true;
  }
  for (const [alert, begun] of since) {
    const rule = own.find((one) => one.alert === alert)?.rule ?? active.find((one) => one.id === alert)?.rule ?? "";
    const known = found.get(rule);
    if (known) known.firing_s += Math.max(0, (end - begun) / 1000);
  }
  const rank = ["critical", "warning", "info"];
  const place = (one: Episode) => (rank.includes(one.severity) ? rank.indexOf(one.severity) : rank.length);
  return [...found.values()].sort((a, b) => Number(b.isFiring) - Number(a.isFiring) || place(a) - place(b) || b.firing_s - a.firing_s);
}

/** What one version did in one role within a period. */
export interface Served {
  version: string;
  role: string;
  /** ms since 1970. */
  first: number;
  last: number;
  /** Within the period. */
  predictions: number;
  share: number | null;
  by: string;
  code: string;
  dirty: boolean;
  data: string;
}

/** Gives what served, the newest first; stretches of the same version and role are one. */
export function served(stretches: readonly Stretch[], shares: Shares | null): Served[] {
  const found = new Map<string, Served>();
  for (const one of stretches) {
    const key = `${one.version}\n${one.role}`;
    const first = Date.parse(one.first_prediction ?? one.announced);
    const last = Date.parse(one.last_prediction ?? one.announced);
    const known = found.get(key);
    if (known) {
      known.first = Math.min(known.first, first);
      known.last = Math.max(known.last, last);
      continue;
    }
    const told = shares?.rows.find((row) => row.version === one.version && row.role === one.role);
    const by = one.authors.map((name) => name.replace(/\s*<.*>/, "")).join(", ");
    found.set(key, {
      version: one.version, role: one.role, first, last, by,
      predictions: told?.predictions ?? 0, share: told?.share ?? null,
      code: one.code, dirty: one.dirty, data: one.data_version,
    });
  }
  return [...found.values()];
}

/** Gives how many predictions were answered: those of shadows went to nobody. */
export function answered(shares: Shares | null, version: string): number {
  return (shares?.rows ?? []).filter((row) => row.role !== "shadow" && (!version || row.version === version)).reduce((sum, row) => sum + row.predictions, 0);
}
