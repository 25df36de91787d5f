// SPDX-License-Identifier: Apache-2.0
// The page's player, which also records.
import { Player } from './player.js';
import { Recorder } from './recorder.js';
import { isFaceFrame } from './timeline.js';

/** @typedef {import('./player.js').ServerInfo} ServerInfo */
/** @typedef {import('./player.js').PlayerCallbacks & RecordingCallback} AppCallbacks */
/** @typedef {{onRecording: (files: import('./recorder.js').RecordedFile[]) => void}} RecordingCallback */

export class App extends Player {
  /**
   * @param {import('./face_view.js').FaceView} view
   * @param {AppCallbacks} callbacks
   * @param {string} url of the WebSocket
   */
  constructor(view, callbacks, url) {
    super(
      view,
      {
        ...callbacks,
        onAudio: (samples, time, sampleRate) => {
          callbacks.onAudio(samples, time, sampleRate);
          this.recorder?.addSamples(samples, time);
        },
        onFrame: (frame) => {
          if (isFaceFrame(frame)) this.recorder?.addFrame(frame);
          callbacks.onFrame(frame);
        },
        onTimelineStart: () => {
          this.recorder?.onTimelineStart();
          callbacks.onTimelineStart();
        },
      },
      { url, workletUrl: '/delay-line-worklet.js' },
    );
    this.onRecording = callbacks.onRecording;
    /** @type {Recorder | null} */
    this.recorder = null;
    /** @type {import('./plots.js').Plots | null} */
    this.plots = null;
  }

  /** @param {HTMLCanvasElement} canvas of the face */
  startRecording(canvas) {
    const { audio, serverInfo } = this;
    if (!serverInfo) return;
    const { frame_rate: frameRate, names } = serverInfo;
    this.recorder = new Recorder(canvas, audio.outputStream, audio.sampleRate, frameRate, names);
    this.callbacks.onChange();
  }

  async finishRecording() {
    if (!this.recorder) return;
    const { recorder } = this;
    this.recorder = null;
    this.callbacks.onChange();
    this.onRecording(await recorder.stop());
  }

  beforeSourceEnds() {
    return this.finishRecording();
  }
}
