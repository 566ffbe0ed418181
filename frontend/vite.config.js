import { copyFileSync } from "node:fs";
import { defineConfig } from "vite";

const out = "../plmsae/atlas/static";

// One classic script: a page opened from a file may load no modules.
export default defineConfig({
  build: {
    outDir: out,
    emptyOutDir: false,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    lib: { entry: "src/main.tsx", formats: ["iife"], name: "plmsaeAtlas", fileName: () => "app.js", cssFileName: "app" },
  },
  define: { "process.env.NODE_ENV": '"production"' },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [
    {
      name: "copy-3dmol",
      closeBundle() {
        copyFileSync("node_modules/3dmol/build/3Dmol-min.js", `${out}/3dmol.js`);
        copyFileSync("node_modules/3dmol/LICENSE", `${out}/3dmol-LICENSE.txt`);
        copyFileSync("node_modules/preact/LICENSE", `${out}/preact-LICENSE.txt`);
      },
    },
  ],
});
