// SPDX-License-Identifier: Apache-2.0
// Worker that decodes EXT_meshopt_compression with three.js's decoder; see face/decoders.js.
import { MeshoptDecoder } from 'three/examples/jsm/libs/meshopt_decoder.module.js';

self.onmessage = async ({ data: { id, count, stride, source, mode, filter } }) => {
  try {
    await MeshoptDecoder.ready;
    const bytes = new Uint8Array(count * stride);
    MeshoptDecoder.decodeGltfBuffer(bytes, count, stride, source, mode, filter);
    self.postMessage({ id, bytes }, { transfer: [bytes.buffer] });
  } catch (error) {
    self.postMessage({ id, error: String(/** @type {Error} */ (error)?.message ?? error) });
  }
};
