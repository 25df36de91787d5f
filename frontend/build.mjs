// SPDX-License-Identifier: Apache-2.0
// Bundles the page and the custom element into streamingtalker_ros/web/static, and the npm package into dist/: `npm
// run build`. The page and the element are bundled from the same sources.
import { build } from 'esbuild';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const out = fileURLToPath(new URL('../streamingtalker_ros/web/static/', import.meta.url));
const dist = `${here}dist/`;
const common = {
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  logLevel: 'warning',
};

/** The audio worklet as text, for a bundle of one file. */
const workletText = {
  name: 'worklet text',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^worklet:/ }, ({ path }) => ({ path: path.slice('worklet:'.length), namespace: 'worklet' }));
    onLoad({ filter: /.*/, namespace: 'worklet' }, async ({ path }) => {
      const entry = `${here}src/${path}-worklet.js`;
      const { outputFiles } = await build({ ...common, entryPoints: [entry], write: false });
      return { contents: outputFiles[0].text, loader: 'text', watchFiles: [entry] };
    });
  },
};

for (const folder of [out, dist]) {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
}
await build({ ...common, entryPoints: [`${here}src/main.js`], outfile: `${out}app.js` });
await build({ ...common, entryPoints: [`${here}src/delay-line-worklet.js`], outfile: `${out}delay-line-worklet.js` });
await build({
  ...common,
  entryPoints: [`${here}src/talking_face.js`],
  outfile: `${dist}talking-face.js`,
  plugins: [workletText],
});
await build({ ...common, minify: false, entryPoints: [`${here}src/protocol.js`], outfile: `${dist}protocol.js` });
await cp(`${dist}talking-face.js`, `${out}talking-face.js`);
for (const name of ['style.css', 'icon.svg']) await cp(`${here}${name}`, `${out}${name}`);
await cp(`${here}node_modules/three/LICENSE`, `${out}three-license.txt`);
await cp(`${here}node_modules/three/LICENSE`, `${dist}three-license.txt`);
await cp(`${here}../LICENSE`, `${dist}LICENSE`);
await writeFile(`${out}index.html`, await readFile(`${here}index.html`)); // last: its presence means that all is there
