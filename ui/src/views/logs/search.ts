/** Searches in the language of the server's log search, put together and taken apart. */

const RAW = ["level", "service", "host", "logger", "trace_id", "prediction_id", "severity"];

/** Gives one search that asks for all of the given ones. */
export function together(...parts: readonly string[]): string {
  const found = parts.map((part) => part.trim()).filter(Boolean);
  return found.length < 2 ? (found[0] ?? "") : found.map((part) => `(${part})`).join(" AND ");
}

/** Gives a text as a quoted value. */
export function value(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** Gives the condition that a field has a value; empty for a field that cannot be searched. */
export function condition(field: string, text: string): string {
  if (field === "at" || text.length > 1000) return "";
  const name = RAW.includes(field) ? field : `attributes.${field}`;
  if (!/^[^\s()":*?\\]+$/.test(name)) return "";
  return /^[\p{L}\p{N}_.-]+$/u.test(text) && !/^(AND|OR|NOT|TO)$|^-/.test(text) ? `${name}:${text}` : `${name}:${value(text)}`;
}

/** Gives the words of the message that a search asks for, to mark them. */
export function wanted(text: string): string[] {
  const found: string[] = [];
  for (const [, sign, field, quoted, word] of text.matchAll(/([-+]?)(?:([\w.]+):)?(?:"((?:[^"\\]|\\.)*)"|([^\s()"]+))/g)) {
    if (sign === "-" || (field && field !== "message")) continue;
    const piece = (quoted ?? word ?? "").replace(/[*?]+$/, "");
    if (piece.length > 1 && !/^(AND|OR|NOT)$/.test(piece) && !/[*?:]/.test(piece)) found.push(piece);
  }
  return found;
}

/** Gives the column of a search that an error names, counted from 0; -1 for none. */
export function column(message: string): number {
  const found = /column (\d+)/.exec(message);
  return found ? Number(found[1]) - 1 : -1;
}
