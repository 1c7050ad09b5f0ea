/** Who is looking, and what they may do. */

import { ask, onDenied, type Failure } from "./api";
import { clock } from "./clock.svelte";

export type Scope = "ingest" | "read" | "write" | "admin";

interface Told {
  login: boolean;
  name: string;
  scopes: Scope[];
  version: string;
  clock: { kind: "wall" | "events"; now: number; wall: number } | null;
}

let told = $state.raw<Told | null>(null);
let failure = $state.raw<Failure | null>(null);

export const session = {
  /** Nothing is known yet. */
  get isOpen(): boolean {
    return told !== null;
  },
  /** A token is needed before anything is shown. */
  get needsLogin(): boolean {
    return told !== null && told.login && !told.scopes.includes("read");
  },
  /** Tokens exist, so logging out makes sense. */
  get hasLogin(): boolean {
    return told?.login ?? false;
  },
  get name(): string {
    return told?.name ?? "";
  },
  get version(): string {
    return told?.version ?? "";
  },
  get failure(): Failure | null {
    return failure;
  },
  /** Whether a button that needs this scope is offered. */
  allows(scope: Scope): boolean {
    return told?.scopes.includes(scope) ?? false;
  },
  /** Asks the server who is looking. */
  async look(): Promise<void> {
    const answer = await ask<Told>("/api/v1/session");
    failure = answer.ok ? null : answer.error;
    if (!answer.ok) return;
    told = answer.data;
    if (told.clock) clock.tell(told.clock.now, told.clock.wall, told.clock.kind);
  },
  /** Logs in with a token; gives what is wrong, or null. */
  async login(token: string): Promise<Failure | null> {
    const answer = await ask<Told>("/api/v1/session", {}, { body: { token } });
    if (!answer.ok) return answer.error;
    await session.look();
    return null;
  },
  async logout(): Promise<void> {
    await ask("/api/v1/session", {}, { method: "DELETE" });
    await session.look();
  },
};

onDenied(() => {
  if (told && !session.needsLogin) void session.look();
});
