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
await build({ ...common, format: 'iife', entryPoints: [`${here}src/meshopt-worker.js`], outfile: `${out}meshopt-worker.js` });
const jsm = `${here}node_modules/three/examples/jsm/`;
const source = await readFile(`${jsm}loaders/DRACOLoader.js`, 'utf8');
const dracoWorker = source.match(/^function DRACOWorker\(\) \{\n(.*?)^\}/ms)?.[1];
if (!dracoWorker) throw new Error('DRACOLoader.js has no function DRACOWorker');
const wrapper = await readFile(`${jsm}libs/draco/gltf/draco_wasm_wrapper.js`, 'utf8');
await writeFile(`${out}draco-worker.js`, `${wrapper}\n${dracoWorker}`); // as DRACOLoader composes it
await cp(`${jsm}libs/draco/gltf/draco_decoder.wasm`, `${out}draco_decoder.wasm`);
const { KTX2Loader } = await import('three/examples/jsm/loaders/KTX2Loader.js');
const constants = ['EngineFormat', 'EngineType', 'TranscoderFormat', 'BasisFormat']
  .map((name) => `let _${name} = ${JSON.stringify(KTX2Loader[name])};`)
  .join('\n');
const transcoder = await readFile(`${jsm}libs/basis/basis_transcoder.js`, 'utf8');
const basisWorker = KTX2Loader.BasisWorker.toString().replace(/^[^{]*\{|\}[^}]*$/g, '');
await writeFile(`${out}basis-worker.js`, `${constants}\n${transcoder}\n${basisWorker}`); // as KTX2Loader composes it
await cp(`${jsm}libs/basis/basis_transcoder.wasm`, `${out}basis_transcoder.wasm`);
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
