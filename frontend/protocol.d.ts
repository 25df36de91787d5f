// SPDX-License-Identifier: Apache-2.0
// Binary messages of the WebSocket protocol (docs/websocket.md), for clients that draw the face themselves.

export declare const PROTOCOL_VERSION: number;
/** Kinds of binary messages of the client: the face's voice, and that of its partner in conversation. */
export declare const PCM: 1;
export declare const PARTNER: 2;
/** Kinds of those of the server. */
export declare const FACE: 1;
export declare const VERTICES: 2;
export declare const AUDIO: 3;
export declare const HEADER_BYTES: 32;
export declare const WEIGHT_COUNT: 52;
export declare const FLAG_SPEAKING: 1;
export declare const FLAG_IDLE: 2;

export interface FrameHeader {
  /** Timeline of the client, 0..255. */
  epoch: number;
  speaking: boolean;
  /** Whether there is no sound. */
  idle: boolean;
  index: number;
  /** Start of the frame, s. */
  time: number;
  /** Duration of the batched model step, ms. */
  modelMs: number;
  /** Time that the audio was queued on the server, ms. */
  waitMs: number;
  /** Frames that the server has skipped so far. */
  dropped: number;
}

/** Frame of a blendshape model: weights (52,) and head rotation xyzw. */
export type FaceFrame = FrameHeader & { kind: typeof FACE; weights: Float32Array; head: Float32Array };
/** Frame of a vertex model: offsets (3V,) in units of `scale` metres. */
export type VertexFrame = FrameHeader & { kind: typeof VERTICES; scale: number; offsets: Int16Array };
/** Audio of a watched talker, or of a text: (n,) at 16 kHz. */
export type AudioMessage = FrameHeader & { kind: typeof AUDIO; samples: Int16Array };

/** Encode an audio message: mono samples of the timeline `epoch`, 0..255; of the partner at 16 kHz, with the epoch 0. */
export declare function encodePcm(
  epoch: number,
  samples: Int16Array,
  kind?: typeof PCM | typeof PARTNER,
): Uint8Array<ArrayBuffer>;

/** Decode a binary message of the server. Arrays are views of `buffer`. */
export declare function decodeMessage(buffer: ArrayBuffer): FaceFrame | VertexFrame | AudioMessage;
