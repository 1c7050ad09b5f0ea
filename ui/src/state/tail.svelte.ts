/** Log records that match a search, newest first, growing at both ends. */

import { untrack } from "svelte";
import { ask, type Failure } from "./api";
import { live } from "./live.svelte";
import { range } from "./time.svelte";
import type { LogLine, Logs } from "./words";

/** Lines that are kept in the page; older ones are asked for again when the person goes there. */
const MOST = 20_000;

export class Tail {
  lines = $state.raw<LogLine[]>([]);
  error = $state.raw<Failure | null>(null);
  loading = $state(true);
  /** All that match in the range, also those not loaded. */
  count = $state(0);
  next = $state<string | null>(null);
  /** New lines are not put in while this is true. */
  paused = $state(false);
  #turn = $state(0);
  #more: (() => Promise<void>) | null = null;

  get isFirst(): boolean {
    return this.loading && this.lines.length === 0 && this.error === null;
  }
  get turn(): number {
    return this.#turn;
  }
  again = (): void => {
    this.#turn++;
  };
  /** Loads older lines, once at a time. */
  older = (): void => {
    const more = this.#more;
    if (!more || this.next === null) return;
    this.#more = null;
    void more().finally(() => (this.#more = more));
  };
  /** @internal */
  loadsWith(more: () => Promise<void>): void {
    this.#more = more;
  }
}

/**
 * Asks for the newest records of the page's time range and, while it ends now, hears of those that come.
 *
 * @param what gives the search; null asks nothing.
 */
export function tail(what: () => { q: string } | null, options: { limit?: number; follow?: boolean } = {}): Tail {
  const found = new Tail();
  const limit = options.limit ?? 200;
  const key = $derived(JSON.stringify(what()));
  const fixed = $derived(range.live ? range.from : `${range.start} ${range.end}`);
  $effect(() => {
    const sought = JSON.parse(key) as { q: string } | null;
    void [fixed, found.turn, live.epoch];
    return untrack(() => {
      if (sought === null) {
        found.lines = [];
        found.loading = false;
        return;
      }
      const control = new AbortController();
      let end: (() => void) | undefined;
      found.loadsWith(() => load(found, sought.q, limit, control.signal, found.next));
      void load(found, sought.q, limit, control.signal, null).then(() => {
        if (control.signal.aborted || !range.live || options.follow === false) return;
        end = live.subscribe<{ logs: LogLine[]; more: boolean }>("logs", { q: sought.q }, (push) => {
          if (!found.paused) add(found, push.logs);
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

async function load(found: Tail, q: string, limit: number, signal: AbortSignal, before: string | null): Promise<void> {
  found.loading = true;
  const span = { from: range.live ? range.from : range.start / 1000, to: range.live ? "" : range.end / 1000 };
  const answer = await ask<Logs>("/api/v1/logs", { q, limit, before, ...span }, { signal });
  if (signal.aborted) return;
  found.loading = false;
  if (!answer.ok) {
    found.error = answer.error;
    return;
  }
  found.error = null;
  found.lines = before === null ? answer.data.logs : [...found.lines, ...answer.data.logs].slice(-MOST);
  if (before === null) found.count = answer.data.count;
  found.next = answer.data.next;
}

function add(found: Tail, news: readonly LogLine[]): void {
  const known = new Set(found.lines.slice(0, 1000).map((line) => line.id));
  const fresh = news.filter((line) => !known.has(line.id));
  if (fresh.length === 0) return;
  const all = [...fresh, ...found.lines];
  if (found.lines[0] && (fresh.at(-1)?.at ?? "") < found.lines[0].at) {
    const sorted = all.slice(0, 1000).sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
    all.splice(0, sorted.length, ...sorted);
  }
  found.lines = all.slice(0, MOST);
  found.count += fresh.length;
}
