/** Takes a rule's expression apart: what is compared, and with what. */

export interface Sides {
  /** What is compared; the whole expression where nothing is compared with a number. */
  left: string;
  threshold: number | null;
  sign: string;
}

const SIGN = /^(?:>=|<=|==|!=|>|<)(?!~)/;
const NUMBER = /^\s*(?:bool\s+)?([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*$/;

/** Gives the sides of `expression > number`; only a comparison outside of all brackets at its end counts. */
export function sides(expression: string): Sides {
  const whole = { left: expression, threshold: null, sign: "" };
  let depth = 0;
  let found = whole as Sides;
  for (let at = 0; at < expression.length; at++) {
    const letter = expression[at] ?? "";
    if (letter === '"' || letter === "'" || letter === "`") at = closing(expression, at);
    else if ("([{".includes(letter)) depth++;
    else if (")]}".includes(letter)) depth--;
    else if (depth === 0) {
      const word = /^(?:and|or|unless)\b/i.exec(expression.slice(at));
      if (word && !/\w/.test(expression[at - 1] ?? "")) return whole;
      const sign = SIGN.exec(expression.slice(at))?.[0];
      if (!sign) continue;
      const number = NUMBER.exec(expression.slice(at + sign.length));
      if (number) found = { left: expression.slice(0, at).trim(), threshold: Number(number[1]), sign };
      at += sign.length - 1;
    }
  }
  return found;
}

function closing(text: string, from: number): number {
  const quote = text[from];
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === "\\" && quote !== "`") at++;
    else if (text[at] === quote) return at;
  }
  return text.length;
}

/** Whether a series is the one of an alert: what both name is the same. */
export function belongs(series: Record<string, string>, alert: Record<string, string>): boolean {
  return Object.entries(series).every(([name, value]) => name === "__name__" || !(name in alert) || alert[name] === value);
}
