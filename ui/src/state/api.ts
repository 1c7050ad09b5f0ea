/** Questions over HTTP: an answer or an error as a value; never an exception. */

import { clock } from "./clock.svelte";

/** What went wrong, in the server's words or ours. */
export interface Failure {
  /** BadInput, Missing, Conflict, Busy, Unreachable, Corrupt or Denied. */
  name: string;
  message: string;
  hint: string;
  /** HTTP status; 0 when nothing answered. */
  status: number;
}

export type Answer<T> = { ok: true; data: T; incomplete: boolean } | { ok: false; error: Failure };

export type Query = Record<string, string | number | boolean | string[] | null | undefined>;

export interface Options {
  signal?: AbortSignal;
  method?: "GET" | "POST" | "DELETE";
  /** JSON body; makes it a POST. */
  body?: unknown;
  /** How often a question is asked again after Busy or Unreachable; unsafe methods never are. */
  retries?: number;
}

const PATIENCE_MS = 35_000;
const listeners = new Set<() => void>();

/** Calls back when an answer says that nobody is logged in. */
export function onDenied(listener: () => void): void {
  listeners.add(listener);
}

export function address(path: string, query: Query = {}): string {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [String(value)]) words.append(name, one);
  }
  const text = words.toString();
  return text ? `${path}?${text}` : path;
}

/** Asks the server. */
export async function ask<T>(path: string, query: Query = {}, options: Options = {}): Promise<Answer<T>> {
  const method = options.method ?? (options.body === undefined ? "GET" : "POST");
  const retries = method === "GET" ? (options.retries ?? 2) : 0;
  for (let turn = 0; ; turn++) {
    const answer = await once<T>(address(path, query), method, options);
    if (answer.ok || turn >= retries || !passing(answer.error) || options.signal?.aborted) return answer;
    await pause(300 * 2 ** turn * (1 + Math.random()), options.signal);
  }
}

function passing(error: Failure): boolean {
  return error.status === 429 || error.status === 503;
}

async function once<T>(target: string, method: string, options: Options): Promise<Answer<T>> {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  const init: RequestInit = { method, signal, credentials: "same-origin", headers: { Accept: "application/json" } };
  if (options.body !== undefined) {
    init.body = JSON.stringify(options.body);
    init.headers = { Accept: "application/json", "Content-Type": "application/json" };
  }
  const sent = Date.now();
  try {
    const response = await fetch(target, init);
    clock.hear(response.headers.get("date"), sent, Date.now());
    const body: unknown = await response.json().catch(() => null);
    if (response.ok) {
      return { ok: true, data: body as T, incomplete: response.headers.has("Modelkeep-Incomplete") };
    }
    if (response.status === 401) for (const listener of listeners) listener();
    return { ok: false, error: told(body, response.status) };
  } catch (error) {
    const slow = limit.aborted;
    const name = slow ? "Busy" : "Unreachable";
    const message = slow ? `no answer within ${PATIENCE_MS / 1000} s` : "the server does not answer";
    const hint = slow ? "Ask for a shorter time." : "It may be starting; the page asks again by itself.";
    if (options.signal?.aborted) return { ok: false, error: { name: "Aborted", message: "", hint: "", status: 0 } };
    return { ok: false, error: { name, message, hint: error instanceof SyntaxError ? "" : hint, status: 0 } };
  }
}

/** Reads an error in modelkeep's form or in Prometheus' form. */
function told(body: unknown, status: number): Failure {
  const found = (body as { error?: unknown } | null)?.error;
  if (typeof found === "string") return { name: "BadInput", message: found, hint: "", status };
  const words = (found ?? {}) as Partial<Failure>;
  return {
    name: words.name ?? "Error",
    message: words.message ?? `the server answered ${status}`,
    hint: words.hint ?? "",
    status,
  };
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
