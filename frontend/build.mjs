// SPDX-License-Identifier: Apache-2.0
// Bundles the page into streamingtalker_ros/web/static: `npm run build`.
import { build } from 'esbuild';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const out = fileURLToPath(new URL('../streamingtalker_ros/web/static/', import.meta.url));
const common = {
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  logLevel: 'warning',
};

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({ ...common, entryPoints: [`${here}src/main.js`], outfile: `${out}app.js` });
await build({ ...common, entryPoints: [`${here}src/delay-line-worklet.js`], outfile: `${out}delay-line-worklet.js` });
for (const name of ['style.css', 'icon.svg']) await cp(`${here}${name}`, `${out}${name}`);
await cp(`${here}node_modules/three/LICENSE`, `${out}three-license.txt`);
await writeFile(`${out}index.html`, await readFile(`${here}index.html`)); // last: its presence means that all is there
