/** What people take along: CSV and PNG. */

import { ink, seriesInk } from "./ink";

/** Gives rows as CSV; texts that a spreadsheet would run as a formula are quoted with an apostrophe. */
export function csv(rows: readonly (readonly (string | number | boolean | null)[])[]): string {
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value: string | number | boolean | null): string {
  if (value === null) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) && !/^-?\d/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Hands a file to the browser's downloads. */
export function save(name: string, content: string | Blob, type = "text/plain"): void {
  const blob = typeof content === "string" ? new Blob([content], { type: `${type};charset=utf-8` }) : content;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\p{L}\p{N}._ -]+/gu, "_").slice(0, 120);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Puts a text on the clipboard, by default the link to what is seen; also where the browser gives a page of plain http none. */
export async function copy(text = location.href): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

/** Saves a drawn chart with its title and legend. */
export async function png(
  name: string,
  title: string,
  drawn: HTMLCanvasElement,
  legend: readonly { label: string; colour: number }[],
): Promise<void> {
  const ratio = devicePixelRatio;
  const pad = 16 * ratio;
  const canvas = document.createElement("canvas");
  canvas.width = drawn.width + 2 * pad;
  canvas.height = drawn.height + pad * 4;
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  ctx.fillStyle = ink("--surface");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = ink("--ink");
  ctx.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  ctx.fillText(title, pad, pad * 1.4);
  ctx.drawImage(drawn, pad, pad * 2);
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  let left = pad;
  const y = canvas.height - pad;
  for (const { label, colour } of legend) {
    ctx.fillStyle = seriesInk(colour);
    ctx.fillRect(left, y - 5 * ratio, 12 * ratio, 3 * ratio);
    ctx.fillStyle = ink("--ink-soft");
    ctx.fillText(label, left + 18 * ratio, y);
    left += ctx.measureText(label).width + 34 * ratio;
  }
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (blob) save(name, blob);
}
