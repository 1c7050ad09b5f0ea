/** The answer of quality/outcomes, as docs/reference/http.md has it. */

export interface Range {
  from: number;
  to: number;
  predictions: number;
  labels: number;
  predicted: number | null;
  actual: number | null;
  low: number | null;
  high: number | null;
}

export interface Confusion {
  names: string[];
  counts: number[][];
}

export interface Outcome {
  version: string;
  task: string;
  calibration: Range[];
  confusion: Confusion | null;
  delays: { from: string; to: string; labels: number; median_days: number | null; late_days: number | null }[];
  by_day: number[];
}

export interface Outcomes {
  model: string;
  threshold: number;
  versions: Outcome[];
}

/** Figures that are shares. */
export const SHARES = new Set(["accuracy", "precision", "recall", "predicted_rate", "actual_rate"]);

/** Gives the days by which a share of the labels had come. */
export function dayOf(byDay: readonly number[], share: number): number | null {
  const total = byDay.reduce((sum, count) => sum + count, 0);
  if (!total) return null;
  let reached = 0;
  return byDay.findIndex((count) => (reached += count) >= share * total - 1e-9);
}
