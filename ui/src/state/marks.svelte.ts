/** Releases of the chosen model, marked on every chart. */

import type { Mark } from "../components/plot";
import { question, type Question } from "./question.svelte";
import { range } from "./time.svelte";
import { url } from "./url.svelte";
import type { Release, Releases } from "./words";

let asked = $state.raw<Question<Releases> | null>(null);

/** Releases that follow each other with the same version are one: hosts that started the same thing. */
const distinct = $derived.by(() => {
  const found: Release[] = [];
  const before = new Map<string, string>();
  for (const release of [...(asked?.data?.releases ?? [])].reverse()) {
    const content = [release.version, release.code, release.data_version, release.config_version].join("\n");
    if (before.get(release.model) === content) continue;
    before.set(release.model, content);
    found.push(release);
  }
  return found;
});

const list = $derived(
  distinct
    .map(
      (release): Mark => ({
        at: Date.parse(release.at),
        label: release.version || release.code.slice(0, 7),
        detail: [release.code.slice(0, 10), release.author, release.host].filter(Boolean).join(" · "),
      }),
    )
    .filter((mark) => mark.at >= range.start && mark.at <= range.end),
);

export const marks = {
  /** Within the page's time range, oldest first. */
  get list(): Mark[] {
    return list;
  },
  /** All of the chosen model, each version once, oldest first. */
  get releases(): Release[] {
    return distinct;
  },
  /** Begins to ask; called once by the shell. */
  start(): void {
    asked = question<Releases>(
      () => (url.get("model") ? { path: "/api/v1/releases", query: { model: url.get("model") } } : null),
      { every: 30 },
    );
  },
};
