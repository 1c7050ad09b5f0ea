/** The time range of the page: `from` and `to` of the address, in the words of the server (`now-24h`, ISO 8601). */

import { clock } from "./clock.svelte";
import { set, url } from "./url.svelte";

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800, y: 31_536_000 };
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

let standard = $state("now-24h");

/** Gives ms since 1970 of `now`, `now-6h`, ISO 8601 or unix seconds; NaN for anything else. */
export function moment(text: string, now: number): number {
  if (text === "now") return now;
  if (text.startsWith("now-")) {
    let seconds = 0;
    const pieces = text.slice(4).match(/\d+(?:\.\d+)?[smhdwy]/g) ?? [];
    if (pieces.join("") !== text.slice(4)) return NaN;
    for (const piece of pieces) seconds += parseFloat(piece) * (UNITS[piece.at(-1) ?? "s"] ?? NaN);
    return now - seconds * 1000;
  }
  if (/^\d+(\.\d+)?$/.test(text)) return parseFloat(text) * 1000;
  return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) || !text.includes("T") ? text : `${text}Z`);
}

/** Gives a time as the address holds it. */
export function iso(ms: number): string {
  return new Date(Math.round(ms / 1000) * 1000).toISOString().replace(".000Z", "Z");
}

/** Seconds between points, from a list of round numbers, at least `span_s / points`. */
export function stepFor(span_s: number, points: number): number {
  const least = span_s / Math.max(1, points);
  return STEPS.find((step) => step >= least) ?? Math.ceil(least / 86_400) * 86_400;
}

/** How often a range that ends now moves on, ms: what one pixel or two of it are. */
function pace(span: number): number {
  return Math.max(1_000, span / 600);
}

class Range {
  readonly from = $derived(url.get("from") || standard);
  readonly to = $derived(url.get("to") || "now");
  /** Whether it ends now and so moves. */
  readonly live = $derived(this.to === "now");
  /** Whether the person (or a link) chose it. */
  readonly chosen = $derived(!!url.get("from") || !!url.get("to"));
  private readonly anchor = $derived.by(() => {
    void clock.beat;
    const now = clock.now();
    const span = moment(this.to, now) - moment(this.from, now);
    const every = pace(Number.isFinite(span) ? span : 0);
    return this.live || this.from.startsWith("now") ? Math.ceil(now / every) * every : 0;
  });
  readonly wrong = $derived(
    !(moment(this.from, clock.wall()) < moment(this.to, clock.wall())) ? `${this.from} – ${this.to}` : "",
  );
  /** ms since 1970; moves on by itself, by a pixel or two at a time. */
  readonly start = $derived(this.wrong ? this.anchor - 86_400_000 : moment(this.from, this.anchor));
  readonly end = $derived(this.wrong ? this.anchor : moment(this.to, this.anchor));
  readonly span = $derived((this.end - this.start) / 1000);

  /** Seconds between points for a chart that is `width` pixels wide. */
  step(width = 900): number {
    return stepFor(this.span, Math.max(120, Math.min(1500, width / 1.5)));
  }

  /** The window for `rate(…[window])`: no narrower than a step, so that no sample falls between two points. */
  window(step: number, least_s = 120): string {
    return `${Math.max(least_s, step)}s`;
  }

  /** Shows another range; a step for the back button. */
  show(from: string, to: string): void {
    set({ from, to: to === "now" ? null : to });
  }

  /** Zooms to a stretch, ms since 1970. */
  zoom(start: number, end: number): void {
    if (end - start >= 1_000) this.show(iso(start), iso(end));
  }

  /** Moves by a part of its own length; `0.5` is half a range later. */
  shift(part: number): void {
    const by = this.span * 1000 * part;
    const end = Math.min(this.end + by, clock.now());
    this.zoom(end - this.span * 1000, end);
  }

  /** Twice as long around the same middle, up to now. */
  widen(): void {
    const end = Math.min(this.end + this.span * 500, clock.now());
    this.zoom(end - this.span * 2000, end);
  }

  /** What a view shows while nobody chose. */
  standard(from: string): void {
    standard = from;
  }
}

export const range = new Range();

// --- in which zone times are written ---

const ZONE = "modelkeep.zone";

function stored(): "local" | "UTC" {
  try {
    return localStorage.getItem(ZONE) === "UTC" ? "UTC" : "local";
  } catch {
    return "local";
  }
}

let chosen = $state<"local" | "UTC">(stored());

export const zone = {
  get name(): "local" | "UTC" {
    return chosen;
  },
  /** As `Intl` takes it; undefined is the browser's own. */
  get iana(): string | undefined {
    return chosen === "UTC" ? "UTC" : undefined;
  },
  choose(name: "local" | "UTC"): void {
    chosen = name;
    try {
      localStorage.setItem(ZONE, name);
    } catch {
      return;
    }
  },
};
