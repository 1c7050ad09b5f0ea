import type { Tone } from "../../state/alerts.svelte";
import { tone } from "../../state/alerts.svelte";
import type { Alert } from "../../state/words";

export interface Rule {
  name: string;
  expr: string;
  for_s: number;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  state: string;
}
export interface Groups {
  groups: { name: string; interval_s: number; clock: string; rules: Rule[] }[];
}
export interface Silence {
  id: string;
  matchers: Record<string, string>;
  from: string;
  to: string;
  by: string;
  reason: string;
}
export interface Notification {
  id: string;
  alert: string;
  channel: string;
  state: string;
  title: string;
  attempts: number;
  created: string;
  sent: string | null;
  next: string | null;
  error: string;
}

/** How an alert looks: its severity while it fires, calm otherwise. */
export function look(alert: Alert): Tone {
  if (alert.state === "resolved") return "good";
  if (alert.silenced) return "silent";
  return alert.state === "firing" ? tone(alert) : "info";
}

const KEY = "modelkeep.name";

/** Who acts: whose token it is, or the name that was given last. */
export const actor = {
  get name(): string {
    try {
      return localStorage.getItem(KEY) ?? "";
    } catch {
      return "";
    }
  },
  set name(text: string) {
    try {
      localStorage.setItem(KEY, text);
    } catch {
      return;
    }
  },
};
