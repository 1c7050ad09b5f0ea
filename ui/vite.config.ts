import { svelte } from "@sveltejs/vite-plugin-svelte";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const OUT = join(import.meta.dirname, "..", "src", "modelkeep", "server", "static");
const API = process.env["MODELKEEP_URL"] ?? "http://127.0.0.1:7300";

/** A tiny script of its own that sets the theme before anything is painted; it must not wait for the bundle. */
function theme(): Plugin {
  const source = join(import.meta.dirname, "src", "theme.js");
  const text = () => readFileSync(source, "utf8").replace(/^\s*\/\/.*\n/gm, "");
  let name = "";
  return {
    name: "theme",
    generateBundle() {
      const digest = createHash("sha256").update(text()).digest("base64url").slice(0, 8);
      name = `assets/theme-${digest}.js`;
      this.emitFile({ type: "asset", fileName: name, source: text() });
    },
    transformIndexHtml: {
      order: "post",
      handler: (html, context) => {
        const digest = createHash("sha256").update(text()).digest("base64url").slice(0, 8);
        const path = context.server ? "/src/theme.js" : `/assets/theme-${digest}.js`;
        return html.replace("<!-- theme -->", `<script src="${path}"></script>`);
      },
    },
  };
}

/** The licences of what is in the bundle, as their authors ask. */
function licences(): Plugin {
  return {
    name: "licences",
    generateBundle() {
      const texts = ["svelte", "uplot"].map((name) => {
        const home = join(import.meta.dirname, "node_modules", name);
        const { version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as { version: string };
        const file = readdirSync(home).find((entry) => /^licen[cs]e/i.test(entry));
        return `${name} ${version}\n\n${file ? readFileSync(join(home, file), "utf8") : ""}`;
      });
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join("\n\n") });
    },
  };
}

/** Every text file also as brotli and gzip, so that the server only hands bytes out. */
function compressed(): Plugin {
  return {
    name: "compressed",
    closeBundle() {
      for (const entry of readdirSync(OUT, { recursive: true, encoding: "utf8" })) {
        const path = join(OUT, entry);
        if (!/\.(js|css|html)$/.test(path) || statSync(path).size < 400) continue;
        const bytes = readFileSync(path);
        const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
        writeFileSync(`${path}.br`, brotliCompressSync(bytes, quality));
        writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  plugins: [svelte(), theme(), licences(), compressed()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    rolldownOptions: {
      output: {
        codeSplitting: false,
        entryFileNames: "assets/page-[hash].js",
        assetFileNames: "assets/page-[hash][extname]",
      },
    },
  },
  server: { port: 7301, strictPort: true, proxy: { "/api": { target: API, ws: true, changeOrigin: true } } },
});
