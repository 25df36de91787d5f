// SPDX-License-Identifier: Apache-2.0
// The bytes of the WebSocket, both ways, as streamingtalker_ros/web/protocol.py writes and reads them.
const PCM = 1;
export const FACE = 1,
  VERTICES = 2,
  AUDIO = 3;
const SPEAKING = 1,
  IDLE = 2,
  HEADER = 32;

// Int16Array of samples -> bytes of a message.
export function packPcm(epoch, samples) {
  const bytes = new Uint8Array(4 + 2 * samples.length);
  bytes.set([PCM, epoch, 0, 0]);
  bytes.set(new Uint8Array(samples.buffer, samples.byteOffset, 2 * samples.length), 4);
  return bytes;
}

// ArrayBuffer -> {kind, epoch, index, time in s, …} with weights and head, offsets in metres, or samples.
export function unpack(buffer) {
  const view = new DataView(buffer);
  const flags = view.getUint8(2);
  const message = {
    kind: view.getUint8(0),
    epoch: view.getUint8(1),
    speaking: !!(flags & SPEAKING),
    idle: !!(flags & IDLE),
    index: view.getUint32(4, true),
    time: view.getFloat64(8, true),
    modelMs: view.getFloat32(16, true),
    waitMs: view.getFloat32(20, true),
    dropped: view.getUint32(24, true),
  };
  if (message.kind === FACE) {
    message.weights = new Float32Array(buffer, HEADER, 52);
    message.head = new Float32Array(buffer, HEADER + 208, 4);
  } else if (message.kind === VERTICES) {
    message.scale = view.getFloat32(HEADER, true);
    message.offsets = new Int16Array(buffer, HEADER + 4);
  } else {
    message.samples = new Int16Array(buffer, HEADER);
  }
  return message;
}
