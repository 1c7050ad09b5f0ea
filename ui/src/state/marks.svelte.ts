/** What served of the chosen model, and since when: marked on every chart. */

import type { Mark } from "../components/plot";
import { question, type Question } from "./question.svelte";
import { range } from "./time.svelte";
import { url } from "./url.svelte";
import type { Stretch, Timeline } from "./words";

let asked = $state.raw<Question<Timeline> | null>(null);

const stretches = $derived((asked?.data?.timeline ?? []).filter((one) => one.first_prediction ?? one.announced));

const list = $derived(
  stretches
    .map(
      (one): Mark => ({
        at: Date.parse(one.first_prediction ?? one.announced),
        label: one.role === "live" ? one.version : `${one.version} (${one.role})`,
        detail: [one.code.slice(0, 10), one.authors.join(", "), one.hosts.join(", ")].filter(Boolean).join(" · "),
      }),
    )
    .filter((mark) => mark.at >= range.start && mark.at <= range.end)
    .sort((a, b) => a.at - b.at),
);

export const marks = {
  /** Within the page's time range, oldest first. */
  get list(): Mark[] {
    return list;
  },
  /** What served of the chosen model, newest first. */
  get timeline(): Stretch[] {
    return stretches;
  },
  get question(): Question<Timeline> | null {
    return asked;
  },
  /** Begins to ask; called once by the shell. */
  start(): void {
    asked = question<Timeline>(
      () => (url.get("model") ? { path: "/api/v1/models/timeline", query: { model: url.get("model") } } : null),
      { every: 30 },
    );
  },
};
