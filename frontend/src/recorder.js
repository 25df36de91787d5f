// SPDX-License-Identifier: Apache-2.0
// Recorder: a WAV file of the audio, a Live Link CSV of the frames on the same time axis, and a video of the face with
// its audio. Nothing leaves the browser.
import { encodeLiveLinkCsv } from './livelink.js';

export const MAX_RECORDING_SECONDS = 600;
const VIDEO_TYPES = [
  'video/mp4;codecs=avc1.42E01F,mp4a.40.2',
  'video/webm;codecs=vp9,opus',
  'video/webm;codecs=vp8,opus',
  'video/webm',
];
const VIDEO_FRAME_RATE = 30;
const VIDEO_BITRATE = 4e6; // bits/s

/** @typedef {import('./protocol.js').FaceFrame} FaceFrame */
/** @typedef {{name: string, blob: Blob}} RecordedFile */

export class Recorder {
  /**
   * Start recording.
   * @param {HTMLCanvasElement} canvas of the face
   * @param {MediaStream | undefined} audio the sound for the video
   * @param {number} sampleRate Hz, of `addSamples`
   * @param {number} frameRate frames/s
   * @param {string[]} names of the weights
   */
  constructor(canvas, audio, sampleRate, frameRate, names) {
    this.sampleRate = sampleRate;
    this.frameRate = frameRate;
    this.names = names;
    /** @type {{samples: Int16Array, time: number}[]} */
    this.chunks = [];
    /** @type {FaceFrame[]} */
    this.frames = [];
    this.timelineStart = 0; // of the present timeline in the recording, s
    this.startedAt = performance.now();
    /** @type {Blob[]} */
    this.videoChunks = [];
    /** @type {MediaRecorder | null} */
    this.mediaRecorder = null;
    const mimeType =
      typeof MediaRecorder === 'function' && VIDEO_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    if (!mimeType || !canvas.captureStream) return;
    const stream = canvas.captureStream(VIDEO_FRAME_RATE);
    for (const track of audio?.getAudioTracks() || []) stream.addTrack(track);
    this.mediaRecorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: VIDEO_BITRATE });
    this.mediaRecorder.ondataavailable = ({ data }) => this.videoChunks.push(data);
    this.mediaRecorder.start(1000);
  }

  /** Duration so far. */
  get seconds() {
    return (performance.now() - this.startedAt) / 1000;
  }

  /**
   * @param {Int16Array} samples
   * @param {number} time of the first sample on the timeline, s
   */
  addSamples(samples, time) {
    this.chunks.push({ samples, time: this.timelineStart + time });
  }

  /** @param {FaceFrame} frame */
  addFrame(frame) {
    this.frames.push({ ...frame, time: this.timelineStart + frame.time });
  }

  /** A new timeline counts from 0 again: in the recording it follows what there is. */
  onTimelineStart() {
    const frame = this.frames[this.frames.length - 1];
    const chunk = this.chunks[this.chunks.length - 1];
    this.timelineStart = Math.max(
      frame ? frame.time + 1 / this.frameRate : 0,
      chunk ? chunk.time + chunk.samples.length / this.sampleRate : 0,
    );
  }

  /**
   * Stop, and return the WAV, CSV and video files that are available.
   * @returns {Promise<RecordedFile[]>}
   */
  async stop() {
    const stamp = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
    const name = `talk-${stamp}`;
    /** @type {RecordedFile[]} */
    const files = [];
    const start = this.#startTime();
    const frames = this.frames.filter((frame) => frame.time >= start - 1e-6);
    if (this.chunks.length) {
      files.push({ name: `${name}.wav`, blob: encodeWav(this.#joinSamples(start, frames), this.sampleRate) });
    }
    if (frames.length) {
      const csv = encodeLiveLinkCsv(frames, this.names);
      files.push({ name: `${name}.csv`, blob: new Blob([csv], { type: 'text/csv' }) });
    }
    if (this.mediaRecorder) {
      const recorder = this.mediaRecorder;
      await new Promise((resolve) => {
        recorder.onstop = resolve;
        recorder.stop();
      });
      const type = recorder.mimeType.split(';')[0];
      const extension = type === 'video/mp4' ? 'mp4' : 'webm';
      files.push({ name: `${name}.${extension}`, blob: new Blob(this.videoChunks, { type }) });
    }
    return files;
  }

  /** Time of the first frame that has audio. */
  #startTime() {
    const soundStart = this.chunks.length ? this.chunks[0].time : -Infinity;
    return this.frames.find((frame) => frame.time >= soundStart - 1e-6)?.time ?? soundStart;
  }

  /**
   * The audio from `start` to the end of the last frame.
   * @param {number} start s
   * @param {FaceFrame[]} frames
   */
  #joinSamples(start, frames) {
    const last = this.chunks[this.chunks.length - 1];
    const end = frames.length
      ? frames[frames.length - 1].time + 1 / this.frameRate
      : last.time + last.samples.length / this.sampleRate;
    const out = new Int16Array(Math.max(0, Math.round((end - start) * this.sampleRate)));
    for (const { samples, time } of this.chunks) {
      const position = Math.round((time - start) * this.sampleRate);
      const skipped = Math.max(0, -position);
      if (position + samples.length > 0 && position < out.length) {
        out.set(samples.subarray(skipped, Math.min(samples.length, out.length - position)), position + skipped);
      }
    }
    return out;
  }
}

/**
 * A mono 16-bit WAV file.
 * @param {Int16Array<ArrayBuffer>} samples
 * @param {number} sampleRate Hz
 */
function encodeWav(samples, sampleRate) {
  const header = new DataView(new ArrayBuffer(44));
  /** @type {(offset: number, text: string) => void} */
  const setText = (offset, text) => [...text].forEach((c, i) => header.setUint8(offset + i, c.charCodeAt(0)));
  setText(0, 'RIFF');
  header.setUint32(4, 36 + 2 * samples.length, true);
  setText(8, 'WAVEfmt ');
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, 2 * sampleRate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  setText(36, 'data');
  header.setUint32(40, 2 * samples.length, true);
  return new Blob([header, samples], { type: 'audio/wav' });
}
