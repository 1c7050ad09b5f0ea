/** Light, dark, or what the system says; `theme.js` has set it before the first paint. */

export type Theme = "light" | "dark" | "system";

const KEY = "modelkeep.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function stored(): Theme {
  try {
    const found = localStorage.getItem(KEY);
    return found === "dark" || found === "light" ? found : "system";
  } catch {
    return "system";
  }
}

let chosen = $state<Theme>(stored());
let dark = $state(document.documentElement.dataset["theme"] === "dark");

function apply(): void {
  dark = chosen === "system" ? system.matches : chosen === "dark";
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
}

system.addEventListener("change", apply);

export const theme = {
  get chosen(): Theme {
    return chosen;
  },
  /** Canvases read this, so that they are drawn again in other colours. */
  get isDark(): boolean {
    return dark;
  },
  choose(next: Theme): void {
    chosen = next;
    try {
      if (next === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } finally {
      apply();
    }
  },
};
