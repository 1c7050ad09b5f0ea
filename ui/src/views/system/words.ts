import type { Json } from "../../state/words";
import { DROPS } from "./strings";

type Tree = Record<string, Json>;

export interface Reader {
  name: string;
  applied: number;
  sealed: number;
  behind: number;
  failures: number;
  quarantined: number;
  missed: number;
  failure: string;
}
export interface Status {
  version: string;
  clock: { kind: string; now: string; evaluated_to: string };
  journal: Record<string, number | boolean>;
  readers: Reader[];
  ingest: { open: boolean; reason: string; [name: string]: Json };
  rooms: Record<string, Tree>;
  disk: { free_bytes: number; total_bytes: number; floor_bytes: number };
}
export interface Token {
  id: string;
  name: string;
  scopes: string[];
  created: string;
  expires: string | null;
  last_used: string | null;
}
export interface Drop {
  what: string;
  count: number;
  means: string;
}
export interface Held {
  store: string;
  held: string;
  count: number;
  size: number | null;
}

/** These are told but nothing is missing because of them. */
const HARMLESS = new Set(["journal.repeated", "rooms.quality.duplicates", "rooms.quality.waiting", "rooms.rows.expired_rows", "rooms.text.cut"]);

function at(status: Status, path: string): Json | undefined {
  return path.split(".").reduce<Json | undefined>((found, name) => (found && typeof found === "object" && !Array.isArray(found) ? found[name] : undefined), status as unknown as Json);
}

function total(value: Json | undefined): number {
  if (typeof value === "number") return value;
  if (value && typeof value === "object" && !Array.isArray(value)) return Object.values(value).reduce<number>((sum, one) => sum + total(one), 0);
  return 0;
}

/** Gives what was dropped, refused or late: only what happened. */
export function drops(status: Status): Drop[] {
  const found: Drop[] = [];
  for (const { path, what, means } of DROPS) {
    const value = at(status, path);
    const parts: [string, Json][] = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [["", value ?? 0]];
    for (const [name, part] of parts) {
      const count = total(part);
      if (count > 0) found.push({ what: name ? `${what}: ${name.replaceAll("_", " ")}` : what, count, means });
    }
  }
  for (const [name, value] of Object.entries(status.rooms["sdk"] ?? {})) {
    if (/drop|lost|refus/.test(name) && total(value)) found.push({ what: `SDK: ${name.replace(/^modelkeep_sdk_|_total$/g, "").replaceAll("_", " ")}`, count: total(value), means: "Told by processes that send; see their log." });
  }
  return found;
}

/** Gives how many records were not kept. */
export function lost(status: Status): number {
  return DROPS.filter(({ path }) => !HARMLESS.has(path) && !path.startsWith("rooms.alerts")).reduce((sum, { path }) => sum + total(at(status, path)), 0) +
    status.readers.reduce((sum, reader) => sum + reader.quarantined + reader.missed, 0);
}

/** Gives what each store holds. */
export function held(status: Status): Held[] {
  const number = (path: string) => total(at(status, path));
  return [
    { store: "journal", held: "entries", count: number("journal.entries"), size: number("journal.bytes") },
    { store: "rows", held: "rows not sealed yet", count: number("rooms.rows.recent_rows"), size: number("rooms.rows.recent_bytes") },
    { store: "rows", held: "rows in files", count: number("rooms.rows.rows"), size: number("rooms.rows.size_bytes") },
    { store: "series", held: "series", count: number("rooms.series.series"), size: number("rooms.series.memory_bytes") },
    { store: "series", held: "blocks", count: number("rooms.series.blocks"), size: number("rooms.series.block_bytes") },
    { store: "text", held: "days of log lines", count: number("rooms.text.days"), size: number("rooms.text.size_bytes") },
    { store: "quality", held: "predictions", count: number("rooms.quality.predictions"), size: null },
    { store: "quality", held: "labels", count: number("rooms.quality.labels"), size: null },
  ];
}
