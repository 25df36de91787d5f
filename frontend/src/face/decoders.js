// SPDX-License-Identifier: Apache-2.0
// three.js's decoders of compressed glTF files: meshopt, Draco and KTX2 textures. They lie beside the page's bundle and
// are fetched when a file needs them. Each runs as a worker with a script of its own, since the page's content security
// policy forbids WebAssembly, which the server allows to these scripts alone.
import { DRACOLoader } from 'three/examples/jsm/loaders/DRACOLoader.js';
import { KTX2Loader } from 'three/examples/jsm/loaders/KTX2Loader.js';

/** @typedef {import('three/examples/jsm/loaders/GLTFLoader.js').GLTFLoader} GLTFLoader */
/** @typedef {{resolve: (bytes: Uint8Array) => void, reject: (error: Error) => void}} Pending */

export class Decoders {
  /** @type {string[]} */
  #blobs = [];
  /** @type {Worker | null} */
  #meshopt = null;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #draco = new DRACOLoader();
  #ktx2 = new KTX2Loader();

  /**
   * @param {string} path URL of the folder of the worker scripts, with a slash at the end
   * @param {import('three').WebGLRenderer} renderer whose texture formats are asked for
   */
  constructor(path, renderer) {
    this.path = path;
    this.renderer = renderer;
  }

  /**
   * Let a loader decode a file.
   * @param {GLTFLoader} loader
   * @param {string[]} extensions that the file uses
   */
  async prepare(loader, extensions) {
    if (extensions.some((name) => name.endsWith('_meshopt_compression'))) {
      this.#meshopt = new Worker(await this.#scriptUrl('meshopt-worker.js'));
      this.#meshopt.onmessage = ({ data }) => {
        const pending = this.#pending.get(data.id);
        this.#pending.delete(data.id);
        if (data.error) pending?.reject(new Error(data.error));
        else pending?.resolve(data.bytes);
      };
      this.#meshopt.onerror = ({ message }) => this.#failAll(message);
      const decoder = { supported: true, decodeGltfBufferAsync: this.#decodeMeshopt.bind(this) };
      loader.setMeshoptDecoder(/** @type {any} */ (decoder)); // what the loader uses of it
    }
    if (extensions.includes('KHR_draco_mesh_compression')) {
      const draco = /** @type {any} */ (this.#draco); // what _initDecoder sets, with a script in place of a blob
      draco.decoderConfig.wasmBinary = await fetchBytes(`${this.path}draco_decoder.wasm`);
      draco.workerSourceURL = await this.#scriptUrl('draco-worker.js');
      draco.decoderPending = Promise.resolve();
      loader.setDRACOLoader(this.#draco.setWorkerLimit(1));
    }
    if (extensions.includes('KHR_texture_basisu')) {
      const ktx2 = /** @type {any} */ (this.#ktx2); // what init sets
      const url = await this.#scriptUrl('basis-worker.js');
      const binary = await fetchBytes(`${this.path}basis_transcoder.wasm`);
      ktx2.workerPool.setWorkerCreator(() => {
        const worker = new Worker(url);
        const transcoderBinary = binary.slice(0);
        worker.postMessage({ type: 'init', config: ktx2.workerConfig, transcoderBinary }, [transcoderBinary]);
        return worker;
      });
      ktx2.transcoderPending = Promise.resolve();
      loader.setKTX2Loader(this.#ktx2.setWorkerLimit(1).detectSupport(this.renderer));
    }
  }

  /** End the workers. */
  dispose() {
    this.#meshopt?.terminate();
    this.#failAll('closed');
    this.#draco.dispose();
    this.#ktx2.dispose();
    for (const url of this.#blobs) URL.revokeObjectURL(url);
  }

  /**
   * @param {number} count
   * @param {number} stride bytes
   * @param {Uint8Array} source
   * @param {string} mode
   * @param {string} [filter]
   * @returns {Promise<Uint8Array>}
   */
  #decodeMeshopt(count, stride, source, mode, filter) {
    const id = this.#pending.size ? Math.max(...this.#pending.keys()) + 1 : 0;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      const bytes = source.slice();
      this.#meshopt?.postMessage({ id, count, stride, source: bytes, mode, filter }, [bytes.buffer]);
    });
  }

  /** @param {string} reason */
  #failAll(reason) {
    for (const { reject } of this.#pending.values()) reject(new Error(`its decoder failed: ${reason}`));
    this.#pending.clear();
  }

  /**
   * URL of a worker script; a copy where the page is of another origin, whose workers must be its own.
   * @param {string} file
   */
  async #scriptUrl(file) {
    const url = new URL(`${this.path}${file}`, location.href);
    if (url.origin === location.origin) return url.href;
    const copy = URL.createObjectURL(new Blob([await fetchBytes(url.href)], { type: 'text/javascript' }));
    this.#blobs.push(copy);
    return copy;
  }
}

/** @param {string} url */
async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`a decoder could not be fetched (${response.status})`);
  return response.arrayBuffer();
}
