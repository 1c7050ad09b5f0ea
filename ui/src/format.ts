/** Numbers and times as people read them: always with a unit, never more digits than they carry. */

import { zone } from "./state/time.svelte";

export type Unit = "" | "count" | "ratio" | "s" | "bytes" | "per_s" | "per_min" | "points";

const NONE = "–";
const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const large = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/**
 * Gives a number with its unit.
 *
 * @param unit `ratio` is shown in per cent, `s` as the duration that suits, `bytes` in powers of 1024.
 */
export function number(value: number | null | undefined, unit: Unit = ""): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  switch (unit) {
    case "ratio":
      return ratio(value);
    case "s":
      return seconds(value);
    case "bytes":
      return bytes(value);
    case "per_s":
      return `${short(value)}/s`;
    case "per_min":
      return `${short(value)}/min`;
    case "points":
      return `${value > 0 ? "+" : value < 0 ? "−" : ""}${plain.format(Math.abs(value) * 100)} pp`;
    default:
      return unit === "count" ? count(value) : short(value);
  }
}

/** Counts are written out below 100,000. */
export function count(value: number): string {
  return Math.abs(value) < 100_000 ? whole.format(value) : large.format(value);
}

function short(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1).replace("-", "−");
  if (size >= 10_000) return large.format(value);
  return (size >= 1000 ? whole.format(value) : plain.format(value)).replace("-", "−");
}

function ratio(value: number): string {
  const part = value * 100;
  const size = Math.abs(part);
  const text = size > 99.5 && size < 100 ? (Math.floor(part * 100) / 100).toFixed(2) : plain.format(part);
  return `${text} %`.replace("-", "−");
}

/** Gives a duration: `340 µs`, `12.5 ms`, `1.2 s`, `3 min`, `5.5 h`, `12 d`. */
export function seconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${plain.format(value * 1e6)} µs`;
  if (size < 1) return `${plain.format(value * 1e3)} ms`;
  if (size < 120) return `${plain.format(value)} s`;
  if (size < 7200) return `${plain.format(value / 60)} min`;
  if (size < 172_800) return `${plain.format(value / 3600)} h`;
  return `${plain.format(value / 86_400)} d`;
}

export function bytes(value: number): string {
  const names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const power = value === 0 ? 0 : Math.min(names.length - 1, Math.floor(Math.log2(Math.abs(value)) / 10));
  return `${plain.format(value / 1024 ** power)} ${names[power] ?? "B"}`;
}

// --- times ---

const formats = new Map<string, Intl.DateTimeFormat>();

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone.name + JSON.stringify(options);
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat("sv", { ...options, hourCycle: "h23", timeZone: zone.iana });
    formats.set(key, found);
  }
  return found;
}

const DAY = { year: "numeric", month: "2-digit", day: "2-digit" } as const;
const MINUTE = { hour: "2-digit", minute: "2-digit" } as const;

/** Gives day and time, such as `2026-04-01 09:30:05`. */
export function time(at: number | string | null | undefined, detail: "day" | "minute" | "second" | "ms" = "second"): string {
  if (at === null || at === undefined || at === "") return NONE;
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return NONE;
  if (detail === "day") return format(DAY).format(date);
  const shown = { ...DAY, ...MINUTE, ...(detail === "minute" ? {} : { second: "2-digit" as const }) };
  const text = format(shown).format(date).replace(",", "");
  return detail === "ms" ? `${text}.${String(date.getUTCMilliseconds()).padStart(3, "0")}` : text;
}

/** Gives the time of day, for rows of one day. */
export function hour(at: number | string, second = true): string {
  return format(second ? { ...MINUTE, second: "2-digit" } : MINUTE).format(new Date(at));
}

/** Gives a duration in one whole number: `40 s`, `7 min`, `5 h`, `3 d`. */
export function rough(past: number): string {
  if (past < 90) return `${Math.round(past)} s`;
  if (past < 5400) return `${Math.round(past / 60)} min`;
  return past < 172_800 ? `${Math.round(past / 3600)} h` : `${Math.round(past / 86_400)} d`;
}

/** Gives how long ago, such as `3 min ago`; `now` below a second. */
export function ago(at: number | string | null | undefined, now: number): string {
  if (at === null || at === undefined || at === "") return NONE;
  const past = (now - new Date(at).getTime()) / 1000;
  if (!Number.isFinite(past)) return NONE;
  if (Math.abs(past) < 1) return "now";
  return past > 0 ? `${rough(past)} ago` : `in ${rough(-past)}`;
}
