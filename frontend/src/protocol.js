// SPDX-License-Identifier: Apache-2.0
// Binary messages of the WebSocket, as docs/websocket.md describes and streamingtalker_ros/web/protocol.py defines them.

export const PROTOCOL_VERSION = 1;
export const PCM = 1; // the face's voice
export const PARTNER = 2; // that of its partner in conversation
export const HEADER_BYTES = 32;
export const WEIGHT_COUNT = 52;
export const FLAG_SPEAKING = 1;
export const FLAG_IDLE = 2;
export const FACE = 1;
export const VERTICES = 2;
export const AUDIO = 3;

/**
 * Fields that all binary messages have.
 * @typedef {object} FrameHeader
 * @property {number} epoch timeline of the client, 0..255
 * @property {boolean} speaking
 * @property {boolean} idle whether the frame belongs to the silence without a source
 * @property {number} index frame number
 * @property {number} time start of the frame, s
 * @property {number} modelMs duration of the batched model step, ms
 * @property {number} waitMs time that the audio was queued on the server, ms
 * @property {number} dropped frames that the server has skipped so far
 */

/**
 * A frame of a blendshape model: weights (52,) and head rotation xyzw.
 * @typedef {FrameHeader & {kind: 1, weights: Float32Array, head: Float32Array}} FaceFrame
 */

/**
 * A frame of a vertex model: offsets (3V,), in units of `scale` metres.
 * @typedef {FrameHeader & {kind: 2, scale: number, offsets: Int16Array}} VertexFrame
 */

/**
 * Audio of a watched talker, or of a text: (n,) at 16 kHz.
 * @typedef {FrameHeader & {kind: 3, samples: Int16Array}} AudioMessage
 */

/** @typedef {FaceFrame | VertexFrame} Frame */

/**
 * Encode an audio message.
 * @param {number} epoch 0..255
 * @param {Int16Array} samples
 * @param {1 | 2} [kind] whose: PCM or PARTNER
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encodePcm(epoch, samples, kind = PCM) {
  const bytes = new Uint8Array(4 + 2 * samples.length);
  bytes.set([kind, epoch, 0, 0]);
  bytes.set(new Uint8Array(samples.buffer, samples.byteOffset, 2 * samples.length), 4);
  return bytes;
}

/**
 * Decode a binary message of the server. Arrays are views of `buffer`.
 * @param {ArrayBuffer} buffer
 * @returns {Frame | AudioMessage}
 */
export function decodeMessage(buffer) {
  const view = new DataView(buffer);
  const kind = view.getUint8(0);
  const flags = view.getUint8(2);
  const header = {
    epoch: view.getUint8(1),
    speaking: (flags & FLAG_SPEAKING) !== 0,
    idle: (flags & FLAG_IDLE) !== 0,
    index: view.getUint32(4, true),
    time: view.getFloat64(8, true),
    modelMs: view.getFloat32(16, true),
    waitMs: view.getFloat32(20, true),
    dropped: view.getUint32(24, true),
  };
  if (kind === FACE) {
    const weights = new Float32Array(buffer, HEADER_BYTES, WEIGHT_COUNT);
    const head = new Float32Array(buffer, HEADER_BYTES + 4 * WEIGHT_COUNT, 4);
    return { kind: FACE, ...header, weights, head };
  }
  if (kind === VERTICES) {
    const scale = view.getFloat32(HEADER_BYTES, true);
    return { kind: VERTICES, ...header, scale, offsets: new Int16Array(buffer, HEADER_BYTES + 4) };
  }
  return { kind: AUDIO, ...header, samples: new Int16Array(buffer, HEADER_BYTES) };
}
