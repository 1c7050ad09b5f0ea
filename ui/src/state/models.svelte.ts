/** All models that were heard of, for the choice in the bar and for the overview. */

import { question, type Question } from "./question.svelte";
import type { Models, Version } from "./words";

export interface Model {
  model: string;
  versions: Version[];
  predictions: number;
  /** ms since 1970. */
  first: number;
  last: number;
  /** The version that predicted last. */
  newest: string;
}

let asked = $state.raw<Question<Models> | null>(null);

const list = $derived.by(() =>
  (asked?.data?.models ?? []).map(({ model, versions }): Model => {
    const lasts = versions.map((one) => Date.parse(one.last_at));
    const last = Math.max(0, ...lasts);
    return {
      model,
      versions,
      predictions: versions.reduce((sum, one) => sum + one.predictions, 0),
      first: Math.min(...versions.map((one) => Date.parse(one.first_at))),
      last,
      newest: versions[lasts.indexOf(last)]?.version ?? "",
    };
  }),
);

export const models = {
  get list(): Model[] {
    return list;
  },
  get question(): Question<Models> | null {
    return asked;
  },
  /** Gives what is known of one model. */
  named(name: string): Model | undefined {
    return list.find((one) => one.model === name);
  },
  /** The versions of a model, the one that predicted last first. */
  versions(name: string): Version[] {
    return [...(models.named(name)?.versions ?? [])].sort((a, b) => Date.parse(b.last_at) - Date.parse(a.last_at));
  },
  /** Begins to ask; called once by the shell. */
  start(): void {
    asked = question<Models>(() => ({ path: "/api/v1/models" }), { every: 10 });
  },
};
