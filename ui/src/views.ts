/** All views: one line each. The server gives the page for these paths only, see `server/page.py`. */

import type { Component } from "svelte";
import type { IconName } from "./components/Icon.svelte";
import { t } from "./strings";
import Alerts from "./views/Alerts.svelte";
import Configuration from "./views/Configuration.svelte";
import Drift from "./views/Drift.svelte";
import Explore from "./views/Explore.svelte";
import Lineage from "./views/Lineage.svelte";
import Logs from "./views/Logs.svelte";
import Model from "./views/Model.svelte";
import Overview from "./views/Overview.svelte";
import Predictions from "./views/Predictions.svelte";
import Quality from "./views/Quality.svelte";
import Report from "./views/Report.svelte";
import System from "./views/System.svelte";

export interface View {
  path: string;
  title: string;
  icon: IconName;
  group: keyof typeof t.groups;
  component: Component;
  /** Time range while nobody chose one. */
  range?: string;
  /** Shows nothing without a model. */
  model?: boolean;
}

export const views: View[] = [
  { path: "/", title: t.views.overview, icon: "overview", group: "watch", component: Overview },
  { path: "/model", title: t.views.model, icon: "model", group: "watch", component: Model, model: true },
  { path: "/drift", title: t.views.drift, icon: "drift", group: "watch", component: Drift, range: "now-28d", model: true },
  { path: "/quality", title: t.views.quality, icon: "quality", group: "watch", component: Quality, range: "now-28d", model: true },
  { path: "/predictions", title: t.views.predictions, icon: "predictions", group: "watch", component: Predictions, model: true },
  { path: "/alerts", title: t.views.alerts, icon: "alerts", group: "watch", component: Alerts },
  { path: "/logs", title: t.views.logs, icon: "logs", group: "look", component: Logs },
  { path: "/lineage", title: t.views.lineage, icon: "lineage", group: "look", component: Lineage, range: "now-7d" },
  { path: "/explore", title: t.views.explore, icon: "explore", group: "look", component: Explore },
  { path: "/configuration", title: t.views.configuration, icon: "configuration", group: "run", component: Configuration, range: "now-28d" },
  { path: "/system", title: t.views.system, icon: "system", group: "run", component: System, range: "now-6h" },
  { path: "/report", title: t.views.report, icon: "report", group: "run", component: Report, range: "now-7d" },
];

/** Gives the view of a path. */
export function viewOf(path: string): View | undefined {
  return views.find((view) => view.path === path.replace(/(.)\/$/, "$1"));
}
