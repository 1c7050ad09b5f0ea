/** PromQL as far as typing it needs: pieces, what may come next at the cursor, and where a mistake is. */

import { e } from "./strings";

export const AGGREGATIONS = ["sum", "avg", "min", "max", "count", "count_values", "topk", "bottomk", "quantile", "stddev", "stdvar", "group"];
export const FUNCTIONS =
  `abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max clamp_min cos cosh
  count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv double_exponential_smoothing exp floor
  histogram_quantile hour idelta increase irate label_join label_replace last_over_time ln log10 log2 max_over_time min_over_time
  minute month pi predict_linear present_over_time quantile_over_time rad rate resets round scalar sgn sin sinh sort sort_desc sqrt
  stddev_over_time stdvar_over_time sum_over_time tan tanh time timestamp vector year`.split(/\s+/);
export const KEYWORDS = ["by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "offset", "bool"];

const JOINS = new Set(["and", "or", "unless", "atan2"]);
const LISTS = new Set(["by", "without", "on", "ignoring", "group_left", "group_right"]);
const PAIRS: Record<string, string> = { "(": ")", "[": "]", "{": "}" };

export interface Piece {
  kind: "name" | "number" | "text" | "sign" | "open" | "close" | "comma" | "space" | "bad";
  text: string;
  from: number;
  /** A text without its closing quote. */
  cut?: boolean;
}

const KINDS: [Piece["kind"], RegExp][] = [
  ["space", /^(?:\s+|#[^\n]*)/],
  ["text", /^(?:"(?:[^"\\]|\\[^])*(?:"|$)|'(?:[^'\\]|\\[^])*(?:'|$)|`[^`]*(?:`|$))/],
  ["number", /^(?:0x[\da-f]+|(?:\d+(?:ms|[smhdwy]))+|\d*\.?\d+(?:e[+-]?\d+)?\w*|inf\b|nan\b)/i],
  ["name", /^[a-zA-Z_:][\w:]*/],
  ["sign", /^(?:=~|!~|==|!=|>=|<=|[-+*/%^><=@])/],
  ["open", /^[([{]/],
  ["close", /^[)\]}]/],
  ["comma", /^,/],
  ["bad", /^[^]/u],
];

/** Cuts a query into pieces; together they are the query. */
export function pieces(query: string): Piece[] {
  const found: Piece[] = [];
  for (let at = 0; at < query.length; ) {
    const rest = query.slice(at);
    for (const [kind, form] of KINDS) {
      const text = form.exec(rest)?.[0];
      if (!text) continue;
      const cut = kind === "text" && (text.length < 2 || text.at(-1) !== text[0] || /(?:^|[^\\])(?:\\\\)*\\["']$/.test(text));
      found.push({ kind, text, from: at, ...(cut ? { cut } : {}) });
      at += text.length;
      break;
    }
  }
  return found;
}

// --- mistakes ---

export interface Fault {
  from: number;
  to: number;
  text: string;
}

/** Gives the place of what a server's message is about. */
export function place(query: string, message: string): Fault {
  const text = message.replace(/^query: /, "").replace(/ See the PromQL reference.*$/, "");
  for (const name of [/in call to (?:function )?'(\w+)'/, /name '(\w+)'/, /function (\w+)\(\)/, /: '(.+?)'/, /syntax: (\S+?)\.?$/, /illegal regex for (.+?)\.?$/]) {
    const found = name.exec(text)?.[1];
    const at = found ? query.search(new RegExp(`(?<!\\w)${found.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`)) : -1;
    if (found && at >= 0) return { from: at, to: at + found.length, text };
  }
  const own = fault(query);
  if (!own) return { from: query.length, to: query.length, text };
  return { ...own, text: /^invalid promql query/.test(text) ? own.text : text };
}

/** Gives the first mistake that brackets, quotes and the order of expressions and operators show; null for none. */
export function fault(query: string): Fault | null {
  const all = pieces(query).filter((piece) => piece.kind !== "space");
  return new Reader(all, query.length).read();
}

class Reader {
  private at = 0;
  private wants = true;
  private readonly open: Piece[] = [];

  constructor(
    private readonly all: readonly Piece[],
    private readonly end: number,
  ) {}

  read(): Fault | null {
    for (; this.at < this.all.length; this.at++) {
      const piece = this.all[this.at];
      const found = piece ? this.take(piece) : null;
      if (found) return found;
    }
    const open = this.open.at(-1);
    if (open) return told(open, e.expected.open);
    return this.wants ? { from: this.end, to: this.end, text: e.expected.operand } : null;
  }

  private take(piece: Piece): Fault | null {
    switch (piece.kind) {
      case "bad":
        return told(piece, e.expected.letter);
      case "text":
        return piece.cut ? told(piece, e.expected.text) : this.operand(piece);
      case "number":
        return this.operand(piece);
      case "name":
        return this.name(piece);
      case "sign":
        return this.sign(piece);
      case "open":
        return this.opened(piece);
      case "close":
        return this.closed(piece);
      default:
        return this.comma(piece);
    }
  }

  private operand(piece: Piece): Fault | null {
    if (!this.wants) return told(piece, e.expected.operator);
    this.wants = false;
    return null;
  }

  private name(piece: Piece): Fault | null {
    const word = piece.text.toLowerCase();
    const next = this.all[this.at + 1]?.text;
    if (LISTS.has(word)) return this.list(word);
    if (word === "bool" && this.wants) return null;
    if (word === "offset" && !this.wants) return this.offset();
    if (JOINS.has(word) && !this.wants) {
      this.wants = true;
      return null;
    }
    if (AGGREGATIONS.includes(word) && (next === "(" || /^(by|without)$/i.test(next ?? ""))) return this.wants ? null : told(piece, e.expected.operator);
    if (next === "(" && !FUNCTIONS.includes(word)) return told(piece, e.expected.name);
    if (next === "(") return this.wants ? null : told(piece, e.expected.operator);
    return this.operand(piece);
  }

  /** `by (a, b)`; those of group_left and group_right may be missing. */
  private list(word: string): Fault | null {
    const next = this.all[this.at + 1];
    if (next?.text !== "(") {
      if (word.startsWith("group_")) return null;
      const from = next?.from ?? this.end;
      return { from, to: from + (next?.text.length ?? 0), text: e.expected.operand };
    }
    this.at++;
    return this.skip(next);
  }

  private offset(): Fault | null {
    if (/^[-+]$/.test(this.all[this.at + 1]?.text ?? "")) this.at++;
    const next = this.all[this.at + 1];
    if (next?.kind === "number") this.at++;
    else return { from: next?.from ?? this.end, to: (next?.from ?? this.end) + (next?.text.length ?? 0), text: e.expected.operand };
    return null;
  }

  private sign(piece: Piece): Fault | null {
    if (piece.text === "@") {
      this.at++;
      if (this.all[this.at + 1]?.text === "(") this.at += 2;
      return null;
    }
    if (this.wants) return /^[-+]$/.test(piece.text) ? null : told(piece, e.expected.operand);
    this.wants = true;
    return null;
  }

  private opened(piece: Piece): Fault | null {
    if (piece.text === "(") {
      const before = this.all[this.at - 1];
      if (!this.wants && before?.kind !== "name") return told(piece, e.expected.operator);
      this.open.push(piece);
      this.wants = true;
      return null;
    }
    if (piece.text === "[" && this.wants) return told(piece, e.expected.operand);
    this.wants = false;
    return this.skip(piece);
  }

  /** Passes over what a bracket holds. */
  private skip(from: Piece): Fault | null {
    const end = PAIRS[from.text];
    for (this.at++; this.at < this.all.length; this.at++) {
      const piece = this.all[this.at];
      if (piece?.cut) return told(piece, e.expected.text);
      if (piece?.text === end) return null;
      if (piece && (piece.kind === "open" || piece.kind === "close")) return told(piece, piece.kind === "open" ? e.expected.letter : e.expected.close);
    }
    return told(from, e.expected.open);
  }

  private closed(piece: Piece): Fault | null {
    const open = this.open.pop();
    if (!open || PAIRS[open.text] !== piece.text) return told(piece, e.expected.close);
    if (this.wants && this.all[this.at - 1] !== open) return told(piece, e.expected.operand);
    this.wants = false;
    return null;
  }

  private comma(piece: Piece): Fault | null {
    if (this.wants || this.open.length === 0) return told(piece, e.expected.operand);
    this.wants = true;
    return null;
  }
}

function told(piece: Piece, text: string): Fault {
  return { from: piece.from, to: piece.from + piece.text.length, text };
}

// --- what may come next ---

export interface Wish {
  what: "name" | "label" | "value";
  /** What is typed of it already. */
  start: string;
  from: number;
  to: number;
  /** The selector's name, as far as it is known. */
  metric: string;
  /** Whose value. */
  label: string;
}

/** Gives what could be completed at the cursor; null for nothing. */
export function wish(query: string, cursor: number): Wish | null {
  const before = pieces(query.slice(0, cursor));
  const last = before.at(-1);
  const typing = last?.kind === "name" || (last?.kind === "text" && last.cut) ? last : undefined;
  const past = before.filter((piece) => piece.kind !== "space" && piece !== typing);
  const bracket = unclosed(past);
  const start = typing?.text ?? "";
  const from = typing?.from ?? cursor;
  const to = cursor + (typing?.kind === "text" ? 0 : (/^[\w:]*/.exec(query.slice(cursor))?.[0].length ?? 0));
  if (bracket && past[bracket.at]?.text === "{") {
    const metric = past[bracket.at - 1]?.kind === "name" ? (past[bracket.at - 1]?.text ?? "") : "";
    const sign = past.at(-1)?.text ?? "";
    if (typing?.kind === "text") return { what: "value", start: start.slice(1), from: from + 1, to, metric, label: past.at(-2)?.text ?? "" };
    if (/^(?:=|!=|=~|!~)$/.test(sign)) return { what: "value", start: "", from, to, metric, label: past.at(-2)?.text ?? "" };
    return sign === "{" || sign === "," ? { what: "label", start, from, to, metric, label: "" } : null;
  }
  if (typing?.kind === "text") return null;
  const owner = bracket ? (past[bracket.at - 1]?.text.toLowerCase() ?? "") : "";
  if (LISTS.has(owner)) {
    const metric = past.slice(bracket?.at).find((piece) => piece.kind === "name" && piece.text.includes("_"))?.text ?? "";
    return { what: "label", start, from, to, metric, label: "" };
  }
  if (bracket && past[bracket.at]?.text === "[") return null;
  return { what: "name", start, from, to, metric: "", label: "" };
}

function unclosed(past: readonly Piece[]): { at: number } | null {
  const open: number[] = [];
  past.forEach((piece, at) => {
    if (piece.kind === "open") open.push(at);
    if (piece.kind === "close") open.pop();
  });
  const at = open.at(-1);
  return at === undefined ? null : { at };
}

/** Gives those that begin with what is typed first, then those that hold it; at most `most`. */
export function fitting(names: readonly string[], start: string, most = 12): string[] {
  const wanted = start.toLowerCase();
  const first: string[] = [];
  const rest: string[] = [];
  for (const name of names) {
    const at = name.toLowerCase().indexOf(wanted);
    if (at === 0) first.push(name);
    else if (at > 0) rest.push(name);
  }
  return [...first, ...rest].slice(0, most);
}
