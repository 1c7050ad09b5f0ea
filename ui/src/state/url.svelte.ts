/** The address is the state: path and query string hold all that a view shows, so every view is a link and back works. */

export type Params = Record<string, string | number | string[] | null | undefined>;

/** What goes along from view to view. */
export const SHARED = ["from", "to", "model", "version"] as const;

interface Place {
  path: string;
  query: URLSearchParams;
}

function read(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

let place = $state.raw<Place>(read());

addEventListener("popstate", () => {
  place = read();
});

export const url = {
  get path(): string {
    return place.path;
  },
  /** The first value of a parameter, empty when it is absent. */
  get(name: string): string {
    return place.query.get(name) ?? "";
  },
  /** All values of a parameter. */
  all(name: string): string[] {
    return place.query.getAll(name);
  },
  /** The query string with its `?`, empty for none. */
  get search(): string {
    const text = place.query.toString();
    return text ? `?${text}` : "";
  },
};

function write(query: URLSearchParams, params: Params): URLSearchParams {
  for (const [name, value] of Object.entries(params)) {
    query.delete(name);
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [String(value)]) query.append(name, one);
  }
  return query;
}

/** Gives the address of a view; time range, model and version go along unless `params` say otherwise. */
export function href(path: string, params: Params = {}): string {
  const query = new URLSearchParams();
  for (const name of SHARED) {
    const value = place.query.get(name);
    if (value) query.set(name, value);
  }
  const text = write(query, params).toString();
  return text ? `${path}?${text}` : path;
}

/** Goes to an address of this page. */
export function go(address: string, options: { replace?: boolean } = {}): void {
  if (address === location.pathname + location.search) return;
  history[options.replace ? "replaceState" : "pushState"](null, "", address);
  place = read();
}

/** Changes parameters of this view; null and empty take one out. `replace` makes no step for the back button. */
export function set(params: Params, options: { replace?: boolean } = {}): void {
  const text = write(new URLSearchParams(location.search), params).toString();
  go(text ? `${location.pathname}?${text}` : location.pathname, options);
}

/** Follows links of this page without loading it again; for `onclick` on the window. */
export function follow(event: MouseEvent, isView: (path: string) => boolean): void {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const anchor = (event.target as Element | null)?.closest?.("a");
  if (!anchor?.href || anchor.target || anchor.hasAttribute("download")) return;
  const to = new URL(anchor.href);
  if (to.origin !== location.origin || !isView(to.pathname) || to.hash) return;
  event.preventDefault();
  go(to.pathname + to.search);
}
