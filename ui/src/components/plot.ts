/** The one place that knows uPlot: from rows of values to a drawn chart. */

import uPlot from "uplot";
import { number, time, type Unit } from "../format";
import { ink, seriesInk } from "../ink";
import { zone } from "../state/time.svelte";

export interface ChartRow {
  /** Said in legend, table and CSV. */
  label: string;
  /** One a time; null leaves a gap. */
  values: readonly (number | null)[];
  /** Which colour of the series, 0 to 7; by default its place. */
  colour?: number;
  dash?: boolean;
  /** Ends of the interval around each value, drawn as a band. */
  low?: readonly (number | null)[];
  high?: readonly (number | null)[];
}

/** A moment that is marked on every chart. */
export interface Mark {
  /** ms since 1970. */
  at: number;
  label: string;
  detail?: string;
}

export interface Threshold {
  value: number;
  label: string;
}

export interface Drawn {
  times: readonly number[];
  rows: readonly ChartRow[];
  kind: "line" | "area" | "bars" | "steps";
  stack: boolean;
  unit: Unit;
  zero: boolean;
  top: number | null;
  thresholds: readonly Threshold[];
  marks: readonly Mark[];
  hidden: ReadonlySet<string>;
}

export interface Calls {
  span: () => [number, number];
  zoom: (start: number, end: number) => void;
  point: (index: number | null) => void;
  placed: (marks: { left: number; mark: Mark }[]) => void;
}

/** Distances of lines for bytes, and for things that are counted. */
const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const WHOLE = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
const FONT = "11px system-ui, sans-serif";
const sync = uPlot.sync("page");

/** Gives what uPlot draws: times, then of each row the values, then ends of intervals. */
export function columns(drawn: Drawn): uPlot.AlignedData {
  const shown = drawn.rows.map((row) => (drawn.hidden.has(row.label) ? row.values.map(() => null) : row.values));
  const lines = drawn.stack ? stacked(shown) : shown;
  const ends = drawn.stack
    ? []
    : drawn.rows.flatMap((row) =>
        row.low && row.high
          ? drawn.hidden.has(row.label)
            ? [row.values.map(() => null), row.values.map(() => null)]
            : [row.high, row.low]
          : [],
      );
  return [drawn.times, ...lines, ...ends] as unknown as uPlot.AlignedData;
}

function stacked(rows: readonly (readonly (number | null)[])[]): (number | null)[][] {
  let below: (number | null)[] = [];
  return rows.map((row) => {
    below = row.map((value, place) => (value ?? 0) + (below[place] ?? 0));
    return below;
  });
}

/** Draws a chart into an element. */
export function plot(target: HTMLElement, drawn: Drawn, size: { width: number; height: number }, calls: Calls): uPlot {
  const options: uPlot.Options = {
    ...size,
    padding: [drawn.marks.length ? 16 : 8, 8, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: sync.key, setSeries: false },
      points: { size: 6, width: 1.5 },
      drag: { x: true, y: false, setScale: false },
      bind: { dblclick: () => () => null },
    },
    select: { show: true, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, auto: false, range: () => calls.span() },
      y: { range: (_, low, high) => bounds(drawn, low, high) },
    },
    axes: axes(drawn),
    series: [{}, ...drawn.rows.map((row, place) => line(drawn, row, place)), ...ends(drawn)],
    bands: bands(drawn),
    hooks: {
      setSelect: [
        (u) => {
          const { left, width } = u.select;
          if (width < 4) return;
          calls.zoom(u.posToVal(left, "x") * 1000, u.posToVal(left + width, "x") * 1000);
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      setCursor: [(u) => calls.point(u.cursor.idx ?? null)],
      drawClear: [(u) => lines(u, drawn, calls)],
    },
    tzDate: (at) => (zone.name === "UTC" ? uPlot.tzDate(new Date(at * 1000), "Etc/UTC") : new Date(at * 1000)),
  };
  return new uPlot(options, columns(drawn), target);
}

function line(drawn: Drawn, row: ChartRow, place: number): uPlot.Series {
  const colour = seriesInk(row.colour ?? place);
  const series: uPlot.Series = { label: row.label, stroke: colour, width: 1.5, points: { show: alone } };
  if (row.dash) series.dash = [5, 4];
  if (drawn.kind === "area" || (drawn.stack && drawn.kind !== "bars")) series.fill = faded(colour, drawn.stack ? 0.5 : 0.12);
  const paths = uPlot.paths;
  if (drawn.kind === "bars" && paths.bars) {
    series.paths = paths.bars({ size: [0.8, 60], align: 1 });
    series.fill = faded(colour, 0.75);
    series.width = 0;
    series.points = { show: false };
  }
  if (drawn.kind === "steps" && paths.stepped) series.paths = paths.stepped({ align: 1 });
  return series;
}

/** Shows a point only where a value stands alone and no line would be seen. */
function alone(u: uPlot, series: number, first: number, last: number): boolean {
  const values = u.data[series] as readonly (number | null | undefined)[] | undefined;
  if (!values || last - first > 400) return false;
  for (let place = first; place <= last; place++) {
    if (values[place] != null && values[place - 1] == null && values[place + 1] == null) return true;
  }
  return false;
}

function ends(drawn: Drawn): uPlot.Series[] {
  if (drawn.stack) return [];
  return drawn.rows.flatMap((row) =>
    row.low && row.high
      ? [
          { width: 0, points: { show: false } },
          { width: 0, points: { show: false } },
        ]
      : [],
  );
}

function bands(drawn: Drawn): uPlot.Band[] {
  const made: uPlot.Band[] = [];
  if (drawn.stack) {
    for (let place = drawn.rows.length; place > 1; place--) {
      made.push({ series: [place, place - 1], fill: faded(seriesInk(drawn.rows[place - 1]?.colour ?? place - 1), 0.5) });
    }
    return made;
  }
  let next = drawn.rows.length + 1;
  drawn.rows.forEach((row, place) => {
    if (!row.low || !row.high) return;
    made.push({ series: [next, next + 1], fill: faded(seriesInk(row.colour ?? place), 0.14) });
    next += 2;
  });
  return made;
}

function bounds(drawn: Drawn, low: number | null, high: number | null): [number, number] {
  const marks = drawn.thresholds.map((one) => one.value);
  let bottom = low ?? 0;
  let top = high ?? 1;
  const near = marks.filter((value) => value <= (top || 1) * 4);
  if (near.length) top = Math.max(top, ...near);
  if (drawn.zero) bottom = Math.min(0, bottom);
  if (drawn.top !== null) top = Math.max(top, drawn.top);
  const room = (top - bottom || Math.abs(top) || 1) * 0.08;
  const capped = drawn.unit === "ratio" && top <= 1 ? Math.min(1.02, top + room) : top + room;
  return [drawn.zero && bottom === 0 ? 0 : bottom - room, capped];
}

function axes(drawn: Drawn): uPlot.Axis[] {
  const shared = { stroke: ink("--ink-faint"), font: FONT, ticks: { show: false } };
  const grid = { stroke: ink("--grid"), width: 1 };
  return [
    { ...shared, grid: { show: false }, size: 26, gap: 4, space: 72, values: stamps },
    {
      ...shared,
      grid,
      gap: 6,
      space: 34,
      size: (u, labels) => {
        u.ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
        const wide = Math.max(0, ...(labels ?? []).map((label) => u.ctx.measureText(label ?? "").width));
        return Math.ceil(wide / devicePixelRatio) + 16;
      },
      values: (_, splits) => splits.map((value) => number(clean(value), drawn.unit)),
      ...(drawn.unit === "bytes" ? { incrs: POWERS } : drawn.unit === "count" ? { incrs: WHOLE } : {}),
    },
  ];
}

function clean(value: number): number {
  return Math.abs(value) < 1e-12 ? 0 : Number(value.toPrecision(12));
}

/** Times under the axis: the day where it changes, otherwise hours or seconds. */
function stamps(_: uPlot, splits: number[], __: number, ___: number, every: number): string[] {
  let day = "";
  return splits.map((at) => {
    const text = time(at * 1000, "second");
    const today = text.slice(0, 10);
    const isNew = today !== day;
    day = today;
    if (every >= 86_400) return today.slice(5);
    if (isNew && text.slice(11, 16) === "00:00") return today.slice(5);
    return every >= 60 ? text.slice(11, 16) : text.slice(11);
  });
}

/** Thresholds and marks, under the lines. */
function lines(u: uPlot, drawn: Drawn, calls: Calls): void {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = ratio;
  for (const one of drawn.thresholds) {
    const y = Math.round(u.valToPos(one.value, "y", true)) + 0.5;
    if (y < top || y > top + height) continue;
    ctx.strokeStyle = ink("--bad");
    ctx.fillStyle = ink("--bad");
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    stroke(ctx, left, y, left + width, y);
    ctx.font = `${10 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.fillText(one.label, left + width - 4 * ratio, y - 4 * ratio);
  }
  ctx.strokeStyle = ink("--ink-faint");
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  const placed: { left: number; mark: Mark }[] = [];
  for (const mark of drawn.marks) {
    const x = Math.round(u.valToPos(mark.at / 1000, "x", true)) + 0.5;
    if (x < left || x > left + width) continue;
    stroke(ctx, x, top, x, top + height);
    placed.push({ left: x / ratio, mark });
  }
  ctx.restore();
  calls.placed(placed);
}

function stroke(ctx: CanvasRenderingContext2D, x: number, y: number, toX: number, toY: number): void {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(toX, toY);
  ctx.stroke();
}

/** Gives a colour of the tokens with an opacity. */
export function faded(colour: string, opacity: number): string {
  const hex = colour.startsWith("#") && colour.length === 7 ? colour : "#808080";
  const part = (place: number) => parseInt(hex.slice(place, place + 2), 16);
  return `rgb(${part(1)} ${part(3)} ${part(5)} / ${opacity})`;
}
