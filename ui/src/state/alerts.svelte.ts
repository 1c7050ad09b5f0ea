/** Alerts that live now; told by the connection as they change. */

import { live } from "./live.svelte";
import type { Alert, Alerts } from "./words";

export type Tone = "good" | "info" | "warn" | "bad" | "silent";

let pushed = $state.raw<Alerts | null>(null);

const list = $derived(pushed?.alerts ?? []);
const firing = $derived(list.filter((alert) => alert.state === "firing" && !alert.silenced));

/** Gives how bad an alert is, by its label `severity`. */
export function tone(alert: Alert): Tone {
  const severity = alert.labels["severity"] ?? "warning";
  return severity === "critical" ? "bad" : severity === "info" ? "info" : "warn";
}

const RANK: Record<Tone, number> = { bad: 0, warn: 1, info: 2, silent: 3, good: 4 };

/** Puts firing before pending, the worst first, then the newest. */
export function byWeight(a: Alert, b: Alert): number {
  const state = Number(a.state !== "firing") - Number(b.state !== "firing");
  return state || RANK[tone(a)] - RANK[tone(b)] || Date.parse(b.since) - Date.parse(a.since);
}

export const alerts = {
  /** Pending, firing and acknowledged ones. */
  get list(): Alert[] {
    return list;
  },
  /** Firing and not silenced. */
  get firing(): Alert[] {
    return firing;
  },
  /** Nothing was heard yet. */
  get isFirst(): boolean {
    return pushed === null;
  },
  /** Those about one model. */
  of(model: string): Alert[] {
    return list.filter((alert) => alert.labels["model"] === model);
  },
  /** Listens; called once by the shell. Gives the function that ends it. */
  start(): () => void {
    return live.subscribe<Alerts>("alerts", {}, (told) => (pushed = told));
  },
};
