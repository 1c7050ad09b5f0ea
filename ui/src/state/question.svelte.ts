/** Answers that keep themselves up to date. Call these while a component is made; they end with it. */

import { untrack } from "svelte";
import { ask, type Failure, type Options, type Query } from "./api";
import { clock } from "./clock.svelte";
import { live } from "./live.svelte";
import { range } from "./time.svelte";

export interface Asked {
  path: string;
  query?: Query;
  body?: unknown;
}

/** An answer over time. While a newer one is on its way the older one stays. */
export class Question<T> {
  data = $state.raw<T | null>(null);
  error = $state.raw<Failure | null>(null);
  loading = $state(false);
  /** The server said that records are missing that it has already acknowledged. */
  incomplete = $state(false);
  #turn = $state(0);

  /** Nothing came yet, and nothing went wrong. */
  get isFirst(): boolean {
    return this.data === null && this.error === null;
  }
  get turn(): number {
    return this.#turn;
  }
  /** Asks again now. */
  again = (): void => {
    this.#turn++;
  };
}

/**
 * Asks when the component appears, when what is asked changes, when the connection is back, and every `every` seconds.
 *
 * @param what gives the question; null asks nothing. What it reads is watched.
 * @param options `every`: seconds between two askings while the range ends now; 0 for never.
 */
export function question<T>(what: () => Asked | null, options: { every?: number } = {}): Question<T> {
  const found = new Question<T>();
  const pulse = beats(options.every ?? 0);
  let before = "";
  $effect(() => {
    const asked = what();
    void [found.turn, live.epoch, pulse()];
    const text = JSON.stringify(asked);
    return untrack(() => {
      if (asked === null) {
        found.data = null;
        found.error = null;
        return;
      }
      if (text !== before) found.loading = true;
      const control = new AbortController();
      void fill(found, asked, control.signal, () => (before = text));
      return () => control.abort();
    });
  });
  return found;
}

async function fill<T>(found: Question<T>, asked: Asked, signal: AbortSignal, done: () => void): Promise<void> {
  const options: Options = { signal };
  if (asked.body !== undefined) options.body = asked.body;
  const answer = await ask<T>(asked.path, asked.query ?? {}, options);
  if (signal.aborted) return;
  found.loading = false;
  if (answer.ok) {
    found.data = answer.data;
    found.error = null;
    found.incomplete = answer.incomplete;
    done();
  } else {
    found.error = answer.error;
  }
}

/** A number that goes up every `every` seconds of the server's clock, as long as the tab is looked at. */
function beats(every: number): () => number {
  if (!every) return () => 0;
  const number = $derived.by(() => {
    void clock.beat;
    return live.state === "paused" ? 0 : Math.floor(clock.wall() / (every * 1000));
  });
  return () => (range.live ? number : 0);
}

// --- series ---

export type Labels = Record<string, string>;

export interface Row {
  labels: Labels;
  /** One value a time of the grid; null where there is none. */
  values: (number | null)[];
}

interface Matrix {
  status: string;
  data: { resultType: string; result: { metric: Labels; values?: [number, string][]; value?: [number, string] }[] };
}

interface Push {
  /** The clock moved too far; ask again. */
  reset?: boolean;
  /** Seconds since 1970. */
  start?: number;
  end?: number;
  matrix?: Matrix;
}

export interface Sought {
  /** PromQL. */
  query: string;
  /** Seconds between points. */
  step: number;
  as_of?: string | undefined;
}

/** Values over the page's time range, on one grid of times. */
export class Series {
  /** Seconds since 1970, multiples of the step. */
  times = $state.raw<number[]>([]);
  rows = $state.raw<Row[]>([]);
  error = $state.raw<Failure | null>(null);
  loading = $state(true);
  #turn = $state(0);

  get isFirst(): boolean {
    return this.loading && this.times.length === 0 && this.error === null;
  }
  get isEmpty(): boolean {
    return this.rows.length === 0;
  }
  get turn(): number {
    return this.#turn;
  }
  again = (): void => {
    this.#turn++;
  };
}

/**
 * Asks for the page's time range and, while it ends now, hears new points as they come.
 *
 * @param what gives PromQL and step; null asks nothing.
 */
export function series(what: () => Sought | null): Series {
  const found = new Series();
  const key = $derived(JSON.stringify(what()));
  const fixed = $derived(range.live ? `${range.from}` : `${range.start} ${range.end}`);
  $effect(() => {
    const sought = JSON.parse(key) as Sought | null;
    void [fixed, found.turn, live.epoch];
    return untrack(() => {
      if (sought === null) {
        found.rows = [];
        found.loading = false;
        return;
      }
      const control = new AbortController();
      let end: (() => void) | undefined;
      void load(found, sought, control.signal).then(() => {
        if (control.signal.aborted || !range.live || sought.as_of) return;
        end = live.subscribe<Push>("series", { query: sought.query, step: sought.step }, (push) => {
          if (push.reset) found.again();
          else merge(found, push, sought.step);
        });
      });
      return () => {
        control.abort();
        end?.();
      };
    });
  });
  return found;
}

async function load(found: Series, sought: Sought, signal: AbortSignal): Promise<void> {
  found.loading = true;
  const { step } = sought;
  const start = Math.ceil(range.start / 1000 / step) * step;
  const end = Math.max(start, Math.floor(range.end / 1000 / step) * step);
  const query = { query: sought.query, start, end, step, as_of: sought.as_of };
  const answer = await ask<Matrix>("/api/v1/query_range", query, { signal });
  if (signal.aborted) return;
  found.loading = false;
  if (!answer.ok) {
    found.error = answer.error;
    return;
  }
  found.error = null;
  found.times = grid(start, end, step);
  found.rows = gridded(answer.data, start, found.times.length, step);
}

function grid(start: number, end: number, step: number): number[] {
  return Array.from({ length: Math.max(1, Math.round((end - start) / step) + 1) }, (_, index) => start + index * step);
}

function gridded(matrix: Matrix, start: number, length: number, step: number): Row[] {
  return matrix.data.result.map(({ metric, values }) => {
    const row: (number | null)[] = new Array<null>(length).fill(null);
    for (const [at, text] of values ?? []) row[Math.round((at - start) / step)] = finite(text);
    return { labels: metric, values: row };
  });
}

/** Adds new points and lets those before the range go. */
function merge(found: Series, push: Push, step: number): void {
  const first = found.times[0];
  if (push.start === undefined || push.end === undefined || !push.matrix || first === undefined) return;
  const start = Math.max(first, Math.ceil((push.end - range.span) / step) * step);
  const times = grid(start, Math.max(push.end, found.times.at(-1) ?? push.end), step);
  const rows = new Map<string, Row>();
  const put = (source: readonly Row[], from: number) => {
    for (const { labels, values } of source) {
      const id = JSON.stringify(labels);
      const row = rows.get(id) ?? { labels, values: new Array<number | null>(times.length).fill(null) };
      rows.set(id, row);
      values.forEach((value, index) => {
        const place = Math.round((from - start) / step) + index;
        if (place >= 0 && place < times.length) row.values[place] = value;
      });
    }
  };
  put(found.rows, first);
  put(gridded(push.matrix, push.start, Math.round((push.end - push.start) / step) + 1, step), push.start);
  found.times = times;
  found.rows = [...rows.values()].filter((row) => row.values.some((value) => value !== null));
}

function finite(text: string): number | null {
  const number = Number(text);
  return Number.isFinite(number) ? number : null;
}

// --- the value of now ---

export interface Value {
  labels: Labels;
  value: number | null;
}

/** The values of a PromQL query at the end of the page's range; asked again as the range moves. */
export function values(
  what: () => { query: string; as_of?: string } | null,
  options: { every?: number } = {},
): { readonly rows: Value[]; readonly question: Question<Matrix> } {
  const asked = question<Matrix>(
    () => {
      const sought = what();
      if (sought === null) return null;
      return { path: "/api/v1/query", query: { ...sought, time: range.live ? "now" : range.end / 1000 } };
    },
    { every: options.every ?? 15 },
  );
  const rows = $derived(
    (asked.data?.data.result ?? []).map(({ metric, value }) => ({
      labels: metric,
      value: value ? finite(value[1]) : null,
    })),
  );
  return {
    get rows() {
      return rows;
    },
    question: asked,
  };
}
