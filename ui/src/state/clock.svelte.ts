/** What time it is for the server: its wall, and its active clock, which in a replay is the newest prediction's time. */

let skew = 0;
let told = false;
let active = $state.raw<number | null>(null);
let kind = $state<"wall" | "events">("wall");
let beat = $state(0);

/** Clocks that are further apart than this are told to the person. */
const NOTABLE_MS = 60_000;

export const clock = {
  /** ms that the server's wall is ahead of this machine's. */
  get skew(): number {
    void beat;
    return skew;
  },
  get isOff(): boolean {
    return Math.abs(this.skew) > NOTABLE_MS;
  },
  /** The server's wall, ms since 1970. */
  wall(): number {
    return Date.now() + skew;
  },
  /** What `now` means in questions, ms since 1970. */
  now(): number {
    return kind === "events" && active !== null ? active : this.wall();
  },
  get kind(): "wall" | "events" {
    return kind;
  },
  /** Changes each time the server told its time; reading it makes an effect run again then. */
  get beat(): number {
    return beat;
  },
  /** Takes the Date header of an answer: whole seconds, so only a clear difference counts. */
  hear(date: string | null, sent: number, received: number): void {
    const at = date ? Date.parse(date) : NaN;
    if (!Number.isFinite(at) || received - sent > 5_000) return;
    const found = at + 500 - (sent + received) / 2;
    if (!told || Math.abs(found - skew) > 1_500) {
      skew = Math.abs(found) < 1_500 ? 0 : found;
      told = true;
      beat++;
    }
  },
  /** Takes what the server says of its clocks. */
  tell(now: number, wall: number, which: "wall" | "events"): void {
    kind = which;
    active = now;
    const found = wall - Date.now();
    if (Math.abs(found - skew) > 1_500) skew = Math.abs(found) < 1_500 ? 0 : found;
    told = true;
    beat++;
  },
};
