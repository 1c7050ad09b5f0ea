/** Colours for canvases, read from the tokens so that light and dark follow. */

/** Gives the value of a token, such as `--edge`. */
export function ink(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const SERIES = 8;

/** Gives the colour of the nth series; they stay apart for colour-blind eyes, and repeat after eight. */
export function seriesInk(place: number): string {
  return ink(`--series-${(place % SERIES) + 1}`);
}

const HEAT = 7;
/** The first step that is beyond the threshold: from here on the ramp is orange. */
const OVER = 4;

/** Gives the step of the ramp for a value: blue up to the threshold, orange beyond; -1 for none. */
export function heat(value: number | null, threshold: number, top: number): number {
  if (value === null || !Number.isFinite(value)) return -1;
  if (value < threshold) return Math.min(OVER - 1, Math.floor((Math.max(0, value) / threshold) * OVER));
  const part = top > threshold ? (value - threshold) / (top - threshold) : 1;
  return OVER + Math.min(HEAT - OVER - 1, Math.floor(part * (HEAT - OVER)));
}

/** Gives all colours of the ramp, and the one for no value under -1. */
export function heatInks(): Record<number, string> {
  const found: Record<number, string> = { [-1]: ink("--heat-none") };
  for (let step = 0; step < HEAT; step++) found[step] = ink(`--heat-${step}`);
  return found;
}
