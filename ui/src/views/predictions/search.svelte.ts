/** Predictions that a search finds, newest first, loaded page by page. */

import { untrack } from "svelte";
import { ask, type Failure } from "../../state/api";
import { live } from "../../state/live.svelte";
import { range } from "../../state/time.svelte";
import type { Json, Prediction } from "../../state/words";

interface Found {
  predictions: Prediction[];
  count: number | null;
  next: string | null;
}

export interface Sought {
  model: string;
  version: string;
  q: string;
}

const PAGE = 200;
const MOST = 20_000;

export class Search {
  rows = $state.raw<Prediction[]>([]);
  error = $state.raw<Failure | null>(null);
  loading = $state(true);
  /** All that are found, also those not loaded. */
  count = $state(0);
  next = $state<string | null>(null);
  #turn = $state(0);
  #more: (() => Promise<void>) | null = null;

  get isFirst(): boolean {
    return this.loading && this.rows.length === 0 && this.error === null;
  }
  get turn(): number {
    return this.#turn;
  }
  again = (): void => {
    this.#turn++;
  };
  /** Loads older ones, once at a time. */
  older = (): void => {
    const more = this.#more;
    if (!more || this.next === null || this.rows.length >= MOST) return;
    this.#more = null;
    void more().finally(() => (this.#more = more));
  };
  /** @internal */
  loadsWith(more: () => Promise<void>): void {
    this.#more = more;
  }
}

/** Searches in the page's time range; new predictions come in when the person loads again, so that nothing moves. */
export function search(what: () => Sought | null): Search {
  const found = new Search();
  const key = $derived(JSON.stringify(what()));
  const fixed = $derived(range.live ? range.from : `${range.start} ${range.end}`);
  $effect(() => {
    const sought = JSON.parse(key) as Sought | null;
    void [fixed, found.turn, live.epoch];
    return untrack(() => {
      found.rows = [];
      found.next = null;
      found.loading = sought !== null;
      if (sought === null) return;
      const control = new AbortController();
      const span = { from: range.live ? range.from : range.start / 1000, to: range.live ? "" : range.end / 1000 };
      const load = async (before: string | null): Promise<void> => {
        found.loading = true;
        const answer = await ask<Found>("/api/v1/predictions/search", { ...sought, ...span, limit: PAGE, before }, { signal: control.signal });
        if (control.signal.aborted) return;
        found.loading = false;
        found.error = answer.ok ? null : answer.error;
        if (!answer.ok) return;
        const { predictions, count, next } = answer.data;
        found.rows = before === null ? predictions : [...found.rows, ...predictions];
        if (count !== null) found.count = count;
        found.next = next;
      };
      found.loadsWith(() => load(found.next));
      void load(null);
      return () => control.abort();
    });
  });
  return found;
}

/** Gives the newest label of a prediction; undefined for none. */
export function label(one: Prediction): Json | undefined {
  return one.facts.findLast((fact) => fact.kind === "label")?.value;
}

/** Whether the label is the prediction; undefined where that cannot be told, as for a predicted number. */
export function isRight(one: Prediction, task: string): boolean | undefined {
  const said = label(one);
  if (said === undefined || one.prediction === null || task === "regression") return undefined;
  const [real, given] = [plain(said), plain(one.prediction)];
  return real === given;
}

/** True is 1 and a text of a number that number, as they are kept. */
function plain(value: Json): string {
  if (typeof value === "boolean") return value ? "1" : "0";
  return String(typeof value === "string" && value !== "" && Number.isFinite(Number(value)) ? Number(value) : value);
}

/** Gives a value as text. */
export function text(value: Json | undefined): string {
  if (value === undefined || value === null) return "–";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  return typeof value === "string" ? value : JSON.stringify(value);
}
