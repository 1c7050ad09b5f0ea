/** One WebSocket for the whole tab. What is not looked at is not asked for: a hidden tab closes it. */

import { clock } from "./clock.svelte";
import { session } from "./session.svelte";

export type What = "series" | "logs" | "alerts" | "status" | "models" | "releases";
export type State = "connecting" | "live" | "lost" | "paused";

interface Heard {
  id?: string;
  data?: unknown;
  error?: { name: string; message: string; hint: string };
  now?: number;
  wall?: number;
  clock?: "wall" | "events";
}

interface Subscription {
  what: What;
  params: Record<string, unknown>;
  hear: (data: never) => void;
  fail?: ((message: string) => void) | undefined;
}

/** The server tells its time at least this often; longer silence means that the connection is dead. */
const SILENCE_MS = 12_000;
const HIDDEN_MS = 5_000;

const subscriptions = new Map<string, Subscription>();
let socket: WebSocket | null = null;
let state = $state<State>("connecting");
let epoch = $state(0);
let retryAt = $state(0);
let turn = 0;
let count = 0;
let heard = 0;
let was = false;
let timer: ReturnType<typeof setTimeout> | undefined;
let hiding: ReturnType<typeof setTimeout> | undefined;

export const live = {
  /** `lost` while the server does not answer. */
  get state(): State {
    return state;
  },
  /** Goes up when the connection is there again: what was asked before may be old. */
  get epoch(): number {
    return epoch;
  },
  /** When the next try is made, ms since 1970 of this machine. */
  get retryAt(): number {
    return retryAt;
  },
  /** Tries at once. */
  retry(): void {
    clearTimeout(timer);
    connect();
  },
  /**
   * Hears what is new; gives the function that ends it.
   *
   * @param what see docs/reference/http.md
   * @param params of that subscription
   * @param hear called with each message, at most once a second
   */
  subscribe<T>(
    what: What,
    params: Record<string, unknown>,
    hear: (data: T) => void,
    fail?: (message: string) => void,
  ): () => void {
    const id = String(++count);
    subscriptions.set(id, { what, params, hear, fail });
    send({ op: "subscribe", id, what, params });
    return () => {
      if (subscriptions.delete(id)) send({ op: "unsubscribe", id });
    };
  },
  /** Begins; called once a token is there or none is needed. */
  start(): void {
    if (socket === null && state !== "paused") connect();
  },
  /** Ends, for logging out. */
  stop(): void {
    clearTimeout(timer);
    drop();
    state = "connecting";
    was = false;
  },
};

function send(message: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function drop(): void {
  const old = socket;
  socket = null;
  old?.close();
}

function connect(): void {
  drop();
  retryAt = 0;
  const made = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
  socket = made;
  heard = Date.now();
  made.onopen = () => {
    if (socket !== made) return;
    turn = 0;
    state = "live";
    heard = Date.now();
    for (const [id, { what, params }] of subscriptions) send({ op: "subscribe", id, what, params });
    if (was) {
      epoch++;
      void session.look();
    }
    was = true;
  };
  made.onmessage = (event) => {
    if (socket === made) take(String(event.data));
  };
  made.onclose = () => {
    if (socket === made) lose();
  };
}

function lose(): void {
  drop();
  if (state === "paused") return;
  state = was || turn > 0 ? "lost" : "connecting";
  const wait = Math.min(10_000, 400 * 2 ** turn++) * (0.8 + 0.4 * Math.random());
  retryAt = Date.now() + wait;
  timer = setTimeout(connect, wait);
  if (turn === 1) void session.look();
}

function take(text: string): void {
  heard = Date.now();
  const message = JSON.parse(text) as Heard;
  if (message.now !== undefined) clock.tell(message.now, message.wall ?? Date.now(), message.clock ?? "wall");
  const subscription = message.id === undefined ? undefined : subscriptions.get(message.id);
  if (!subscription) return;
  if (message.error) subscription.fail?.(message.error.message);
  else subscription.hear(message.data as never);
}

setInterval(() => {
  if (state === "live" && Date.now() - heard > SILENCE_MS) lose();
}, 3_000);

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => {
      if (socket === null && !was) return;
      clearTimeout(timer);
      state = "paused";
      drop();
    }, HIDDEN_MS);
  } else if (state === "paused") {
    state = "connecting";
    connect();
  }
});
