/** Pieces of PromQL, with names of any letters in them. */

/** Gives a text as a PromQL string. */
export function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

/**
 * Gives `{model="churn",version="3"}`; empty values are left out.
 *
 * @param more other conditions, such as `feature!~"@.*"`
 */
export function selector(labels: Record<string, string | undefined>, ...more: string[]): string {
  const pairs = Object.entries(labels).filter(([, value]) => value);
  return `{${[...pairs.map(([name, value]) => `${name}=${quoted(value ?? "")}`), ...more].join(",")}}`;
}
