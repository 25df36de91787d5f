// SPDX-License-Identifier: Apache-2.0
// <talking-face>: a face that speaks, driven by a server that `streamingtalker web` runs.

/** What {@link TalkingFaceElement.speak} takes: a sound file that the browser decodes, or a live stream. */
export type SpeechSource = ArrayBuffer | Blob | MediaStream;

/**
 * `connecting`: no server yet, or no longer; `idle`: the face blinks and looks about; `speaking`: a sound of this
 * page; `listening`: another talker; `closed`: in no document, or an attribute is wrong.
 */
export type TalkingFaceState = 'closed' | 'connecting' | 'idle' | 'speaking' | 'listening';

/** Detail of the event `ready`. */
export interface TalkingFaceReady {
  /** Name of the model. */
  model: string;
  /** Release of the server. */
  version: string;
  /** Frames per second. */
  frameRate: number;
  /** Names of the weights, in their order: ARKit's 52. */
  names: string[];
  /** Names of the emotions; none from a vertex model. */
  emotions: string[];
  /** Names of the head gestures; none from a vertex model. */
  gestures: string[];
}

/** Detail of the event `frame`. Its arrays are read, not changed. */
export interface TalkingFaceFrame {
  /** Number of the frame in its stream. */
  index: number;
  /** Start of the frame in its stream, s. */
  time: number;
  /** What is audible now, s in the same stream; -Infinity before the sound begins. */
  playbackTime: number;
  /** Whether speech is detected in the frame's sound. */
  speaking: boolean;
  /** Whether there is no sound. */
  idle: boolean;
  /** (52,) 0..1; null from a vertex model. */
  weights: Float32Array | null;
  /** Rotation of the head, quaternion xyzw: x out of the face, y to its left, z up; null from a vertex model. */
  head: Float32Array | null;
}

/** Counts and measurements since the element was connected. */
export interface TalkingFaceStats {
  /** Frames that arrived. */
  received: number;
  /** Frames that were shown; each image shows the newest frame that is due, so that late ones are dropped. */
  shown: number;
  /** Frames that arrived too late for their sound. */
  late: number;
  /** Frames that the server did not send because this page took them too slowly. */
  unsent: number;
  /** Frames that the server skipped because the sound was too old. */
  skipped: number;
  /** Sound minus face, median of 10 s, ms; NaN without sound. */
  avOffsetMs: number;
  /** From the sound's capture to the image, median of 10 s, ms; NaN without any. */
  latencyMs: number;
  /** Images per second. */
  imagesPerSecond: number;
}

export interface TalkingFaceEventMap {
  /** The server has answered and the face is loaded. */
  ready: CustomEvent<TalkingFaceReady>;
  /** A frame is shown. */
  frame: CustomEvent<TalkingFaceFrame>;
  /** The state has changed. */
  state: CustomEvent<{ state: TalkingFaceState }>;
  /** Something is wrong, in one sentence, which the element shows too. */
  error: CustomEvent<{ message: string }>;
}

/** Element `<talking-face>`. Importing the module registers it. */
export declare class TalkingFaceElement extends HTMLElement {
  static observedAttributes: string[];

  /** Address of the server, such as `ws://localhost:8080`. Attribute `src`. */
  src: string;
  /** Access token of a server that needs one. Attribute `token`. */
  token: string | null;
  /** Address of a .glb with ARKit morph targets; null: the server's face. Attribute `face`. */
  face: string | null;
  /** Whether no sound is played. Attribute `muted`. */
  muted: boolean;
  /** Whether the user turns the face and switches the sound. Attribute `controls`. */
  controls: boolean;
  /**
   * Which talker is shown while this page does not speak: "" the ROS talker that the server watches, or the name of a
   * shared session; null: none. Attribute `listen`.
   */
  listen: string | null;
  /** Name under which others may listen to what this element speaks; null: nobody may. Attribute `share`. */
  share: string | null;
  /** CSS colour behind the face, or "transparent"; null: a studio. Attribute `background`. */
  background: string | null;
  /** Level of detail: auto, high, medium, low or lowest. Attribute `detail`. */
  detail: string;

  /** What the element does. */
  readonly state: TalkingFaceState;
  /** Names of the weights; empty before `ready`. */
  readonly names: string[];
  readonly stats: TalkingFaceStats;

  /**
   * Speak a sound, played in step with the face. A sound that is being spoken is replaced.
   * @param audio A sound file, or a stream such as that of a call.
   * @param options silent: a stream's sound is not played, and the face is shown as soon as possible.
   * @returns Whether it was spoken to its end; false after `stop` or another `speak`.
   * @throws Error with a sentence for the user, such as that the browser does not play sound before a click.
   */
  speak(audio: SpeechSource, options?: { silent?: boolean }): Promise<boolean>;

  /**
   * Let the server say a text, where it was started with a text-to-speech command. What is being spoken is replaced.
   * @returns Whether it was said to its end; false after `stop`, another `say` or `speak`, or a failure of the command.
   * @throws Error with a sentence for the user, such as that the server says no texts.
   */
  say(text: string): Promise<boolean>;

  /** Stop the sound and close the mouth. */
  stop(): Promise<void>;

  /** Change controls of the model, such as `{ mouth_expressiveness: 1.2 }`: see docs/websocket.md. */
  set(values: Record<string, unknown>): void;

  /**
   * Turn the gaze, eyes and head, to a point, and hold it there. May be called with every move of the pointer.
   * @param point Metres from between the eyes: x out of the face, y to its left, z up; null releases the gaze.
   */
  lookAt(point: [number, number, number] | null): void;

  /**
   * Show an emotion; it blends in over half a second.
   * @param name One of `emotions`; null: valence and arousal alone, and without them back to the control `emotion`.
   * @param options strength 0..1; valence and arousal -1..1; decay: s until it has faded, without it the emotion stays.
   */
  express(
    name: string | null,
    options?: { strength?: number; valence?: number; arousal?: number; decay?: number },
  ): void;

  /**
   * Move the head once.
   * @param name One of `gestures`.
   * @param options amplitude: degrees, peak to peak, -30..30; count: repetitions, 1..10.
   */
  gesture(name: string, options?: { amplitude?: number; count?: number }): void;

  addEventListener<K extends keyof TalkingFaceEventMap>(
    type: K,
    listener: (this: TalkingFaceElement, event: TalkingFaceEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof TalkingFaceEventMap>(
    type: K,
    listener: (this: TalkingFaceElement, event: TalkingFaceEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    'talking-face': TalkingFaceElement;
  }
}
