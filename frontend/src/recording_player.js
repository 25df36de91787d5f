// SPDX-License-Identifier: Apache-2.0
// The page's player: one that also records.
import { Player } from './player.js';
import { Recorder } from './recorder.js';

/** @typedef {import('./player.js').ServerInfo} ServerInfo */
/** @typedef {import('./player.js').PlayerCallbacks & RecordingCallback} RecordingPlayerCallbacks */
/** @typedef {{onRecording: (files: import('./recorder.js').RecordedFile[]) => void}} RecordingCallback */

export class RecordingPlayer extends Player {
  /**
   * @param {import('./face_view.js').FaceView} view
   * @param {RecordingPlayerCallbacks} callbacks
   * @param {string} url of the WebSocket
   */
  constructor(view, callbacks, url) {
    super(view, callbacks, { url, workletUrl: '/delay-line-worklet.js' });
    this.onRecording = callbacks.onRecording;
    /** @type {Recorder | null} */
    this.recorder = null;
  }

  /** @param {HTMLCanvasElement} canvas of the face */
  startRecording(canvas) {
    const { audio, serverInfo, view } = this;
    if (!serverInfo) return;
    this.recorder = new Recorder(canvas, audio, () => view.copyPose(), serverInfo);
    this.callbacks.onChange();
  }

  async finishRecording() {
    if (!this.recorder) return;
    const { recorder } = this;
    const files = await recorder.stop();
    if (this.recorder !== recorder) return; // the first of several calls has saved it
    this.recorder = null;
    this.callbacks.onChange();
    this.onRecording(files);
  }

  beforeSourceEnds() {
    return this.finishRecording();
  }
}
