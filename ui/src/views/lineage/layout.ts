/** Places a graph in layers: columns by kind, rows so that edges cross little and run straight. */

import type { Edge, Kind, Lineage, Thing } from "./words";

export interface Box {
  thing: Thing;
  column: number;
  x: number;
  y: number;
}
export interface Way {
  edge: Edge;
  /** Points that the line runs through, from box to box. */
  points: [number, number][];
}
export interface Drawing {
  boxes: Box[];
  ways: Way[];
  /** Columns that hold something, with their left edges. */
  heads: { column: number; x: number }[];
  width: number;
  height: number;
}

const COLUMN: Record<Kind, number> = { data: 0, code: 0, training: 1, model: 2, configuration: 2, release: 3, predictions: 4, alert: 5 };
export const BOX = { width: 158, height: 42 };
const GAP = 14;
const BEND = 8;
const TOP = 30;
const SWEEPS = 8;

interface Spot {
  id: string;
  layer: number;
  height: number;
  y: number;
  before: Spot[];
  after: Spot[];
  thing?: Thing;
}

/** Gives the ids of everything that a thing was made from and that came of it, itself among them. */
export function related(edges: readonly Edge[], id: string): Set<string> {
  const found = new Set([id]);
  for (const [here, there] of [["source", "target"], ["target", "source"]] as const) {
    const next = new Map<string, string[]>();
    for (const edge of edges) next.set(edge[here], [...(next.get(edge[here]) ?? []), edge[there]]);
    const waiting = [id];
    const seen = new Set(waiting);
    for (let one = waiting.pop(); one !== undefined; one = waiting.pop()) {
      for (const other of next.get(one) ?? []) {
        if (seen.has(other)) continue;
        seen.add(other);
        found.add(other);
        waiting.push(other);
      }
    }
  }
  return found;
}

/** Keeps the newest releases, and what leads to them and comes of them. */
export function newest(graph: Lineage, most: number): { graph: Lineage; releases: number } {
  const releases = graph.nodes.filter((node) => node.kind === "release").sort((a, b) => (b.at ?? "").localeCompare(a.at ?? ""));
  if (releases.length <= most) return { graph, releases: releases.length };
  const kept = new Set(releases.slice(0, most).flatMap(({ id }) => [...related(graph.edges, id)]));
  for (const { id } of releases.slice(most)) kept.delete(id);
  return {
    graph: {
      ...graph,
      nodes: graph.nodes.filter((node) => kept.has(node.id)),
      edges: graph.edges.filter((edge) => kept.has(edge.source) && kept.has(edge.target)),
    },
    releases: releases.length,
  };
}

/** Places everything; the width is at least what the columns need. */
export function layout(graph: Lineage, width: number): Drawing {
  const used = [...new Set(graph.nodes.map((node) => COLUMN[node.kind]))].sort((a, b) => a - b);
  const spots = new Map<string, Spot>();
  const layers: Spot[][] = used.map(() => []);
  const put = (spot: Spot) => layers[spot.layer]?.push(spot);
  for (const thing of graph.nodes) {
    const spot = { id: thing.id, layer: used.indexOf(COLUMN[thing.kind]), height: BOX.height, y: 0, before: [], after: [], thing };
    spots.set(thing.id, spot);
    put(spot);
  }
  const chains = direct(graph.edges).flatMap((edge) => chain(edge, spots, put));
  for (let sweep = 0; sweep < SWEEPS; sweep++) order(layers, sweep % 2 === 0);
  place(layers);
  const gap = Math.max(36, used.length > 1 ? (width - used.length * BOX.width) / (used.length - 1) : 0);
  const left = (layer: number) => layer * (BOX.width + gap);
  const boxes = [...spots.values()].map((spot) => ({ thing: spot.thing as Thing, column: used[spot.layer] ?? 0, x: left(spot.layer), y: spot.y }));
  const ways = chains.map(({ edge, spots: through }) => ({
    edge,
    points: through.flatMap((spot, at): [number, number][] => {
      const y = spot.y + spot.height / 2;
      const ends: [number, number][] = [[left(spot.layer), y], [left(spot.layer) + BOX.width, y]];
      return at === 0 ? ends.slice(1) : at === through.length - 1 ? ends.slice(0, 1) : ends;
    }),
  }));
  return {
    boxes,
    ways,
    heads: used.map((column, layer) => ({ column, x: left(layer) })),
    width: Math.max(left(used.length - 1) + BOX.width, BOX.width),
    height: Math.max(TOP, ...layers.flat().map((spot) => spot.y + spot.height)) + 2,
  };
}

/** Leaves out what is told twice: an edge beside a longer way between the same two. */
function direct(edges: readonly Edge[]): Edge[] {
  const next = new Map<string, Set<string>>();
  for (const { source, target } of edges) next.set(source, (next.get(source) ?? new Set()).add(target));
  return edges.filter(({ source, target }) => ![...(next.get(source) ?? [])].some((middle) => middle !== target && next.get(middle)?.has(target)));
}

/** A row of spots from box to box, with a bend in every layer that the edge passes. */
function chain(edge: Edge, spots: Map<string, Spot>, put: (spot: Spot) => void): { edge: Edge; spots: Spot[] }[] {
  const from = spots.get(edge.source);
  const to = spots.get(edge.target);
  if (!from || !to || to.layer <= from.layer) return [];
  const row = [from];
  for (let layer = from.layer + 1; layer < to.layer; layer++) {
    const bend: Spot = { id: `${edge.source} ${edge.target} ${layer}`, layer, height: BEND, y: 0, before: [], after: [] };
    put(bend);
    row.push(bend);
  }
  row.push(to);
  row.slice(1).forEach((spot, at) => {
    const before = row[at] as Spot;
    spot.before.push(before);
    before.after.push(spot);
  });
  return [{ edge, spots: row }];
}

/** Sorts each layer by the mean place of its neighbours in the one before (or after). */
function order(layers: Spot[][], forth: boolean): void {
  const places = new Map<Spot, number>();
  for (const layer of layers) layer.forEach((spot, at) => places.set(spot, at / Math.max(1, layer.length - 1 || 1)));
  for (const layer of forth ? layers : [...layers].reverse()) {
    const mean = (spot: Spot) => {
      const near = forth ? spot.before : spot.after;
      return near.length ? near.reduce((sum, one) => sum + (places.get(one) ?? 0), 0) / near.length : (places.get(spot) ?? 0);
    };
    const means = new Map(layer.map((spot) => [spot, mean(spot)]));
    layer.sort((a, b) => (means.get(a) ?? 0) - (means.get(b) ?? 0));
    layer.forEach((spot, at) => places.set(spot, at / Math.max(1, layer.length - 1 || 1)));
  }
}

/** Gives every spot its height on the page: near the middle of its neighbours, never over another. */
function place(layers: Spot[][]): void {
  for (const layer of layers) stack(layer, layer.map(() => 0));
  for (let turn = 0; turn < SWEEPS; turn++) {
    for (const layer of turn % 2 ? [...layers].reverse() : layers) {
      const wanted = layer.map((spot) => {
        const near = [...spot.before, ...spot.after];
        if (!near.length) return spot.y;
        return near.reduce((sum, one) => sum + one.y + one.height / 2, 0) / near.length - spot.height / 2;
      });
      stack(layer, wanted);
    }
  }
  const least = Math.min(...layers.flat().map((spot) => spot.y));
  for (const spot of layers.flat()) spot.y = Math.round(spot.y - least + TOP);
}

/** Puts spots where they want to be, pushed down where two would touch, and back up by half of what that cost. */
function stack(layer: Spot[], wanted: readonly number[]): void {
  let free = -Infinity;
  let pushed = 0;
  layer.forEach((spot, at) => {
    const want = wanted[at] ?? 0;
    spot.y = Math.max(want, free);
    pushed += spot.y - want;
    free = spot.y + spot.height + GAP;
  });
  const shift = layer.length ? pushed / layer.length / 2 : 0;
  for (const spot of layer) spot.y -= shift;
}
