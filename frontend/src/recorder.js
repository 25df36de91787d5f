// SPDX-License-Identifier: Apache-2.0
// Recorder: a WAV file of what is played, a Live Link CSV of the frames that are shown, and a video of the face with its
// audio. Their time is that of the performance, from the first recorded image to the last, so all three are equally long
// whatever was dropped: without audio the WAV is silent, without frames the CSV repeats the pose. Nothing leaves the
// browser.
import { encodeLiveLinkCsv } from './livelink.js';
import { isFaceFrame } from './timeline.js';

export const MAX_RECORDING_SECONDS = 600;
const VIDEO_TYPES = [
  'video/mp4;codecs=avc1.42E01F,mp4a.40.2',
  'video/webm;codecs=vp9,opus',
  'video/webm;codecs=vp8,opus',
  'video/webm',
];
const VIDEO_FRAME_RATE = 30;
const VIDEO_BITRATE = 4e6; // bits/s
const MAX_SLIP_SECONDS = 0.02; // of the audio device against the time of the performance, before the WAV follows it
const LAST_IMAGE_MS = 500; // for the last image to be drawn; a hidden page draws none
const FLUSH_MS = 300; // in which the last image and the last audio arrive at their files

/** @typedef {import('./timeline.js').Timeline} Timeline */
/** @typedef {import('./livelink.js').TimedPose} TimedPose */
/** @typedef {{name: string, blob: Blob}} RecordedFile */

export class Recorder {
  /** @type {{samples: Int16Array, audibleAt: number}[]} */
  #chunks = [];
  /** @type {Timeline | null} */
  #timeline = null; // of the last image
  #shownTime = -Infinity; // on it, of the last frame that was shown
  /** @type {Promise<RecordedFile[]> | null} */
  #stopping = null;
  #onLastImage = () => {};

  /**
   * Start recording with the next image.
   * @param {HTMLCanvasElement} canvas of the face
   * @param {import('./audio_io.js').AudioIO} audio
   * @param {() => import('./timeline.js').Pose} copyPose pose that is shown
   * @param {{frame_rate: number, names: string[]}} info frames/s, and names of the weights
   */
  constructor(canvas, audio, copyPose, { frame_rate: frameRate, names }) {
    this.audio = audio;
    this.copyPose = copyPose;
    this.frameRate = frameRate;
    this.names = names;
    /** @type {number | null} */
    this.startedAt = null; // ms
    this.lastImageAt = 0; // ms
    /** @type {TimedPose[]} */
    this.poses = []; // by their time since the start
    /** @type {Blob[]} */
    this.videoChunks = [];
    this.hasSound = audio.graph !== null;
    this.sampleRate = audio.sampleRate;
    audio.onPlayed = (samples, audibleAt) => this.#chunks.push({ samples, audibleAt });
    audio.setRecording(true);
    /** @type {MediaRecorder | null} */
    this.mediaRecorder = null;
    /** @type {MediaStreamTrack[]} */
    this.soundTracks = [];
    const mimeType =
      typeof MediaRecorder === 'function' && VIDEO_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    if (!mimeType || !canvas.captureStream) return;
    this.stream = canvas.captureStream(0);
    this.imageTrack = /** @type {CanvasCaptureMediaStreamTrack} */ (this.stream.getVideoTracks()[0]);
    if (!this.imageTrack.requestFrame) this.stream = canvas.captureStream(VIDEO_FRAME_RATE);
    this.soundTracks = audio.outputStream?.getAudioTracks().map((track) => track.clone()) ?? [];
    for (const track of this.soundTracks) this.stream.addTrack(track);
    this.mediaRecorder = new MediaRecorder(this.stream, { mimeType, videoBitsPerSecond: VIDEO_BITRATE });
    this.mediaRecorder.ondataavailable = ({ data }) => this.videoChunks.push(data);
  }

  /** Duration so far. */
  get seconds() {
    return this.startedAt === null ? 0 : (performance.now() - this.startedAt) / 1000;
  }

  /**
   * An image has been drawn.
   * @param {Timeline | null} timeline that it shows
   */
  onDraw(timeline) {
    const now = performance.now();
    if (this.startedAt === null) {
      this.startedAt = now;
      this.poses.push({ ...this.copyPose(), time: 0 });
      this.mediaRecorder?.start(1000);
    }
    this.imageTrack?.requestFrame?.();
    this.lastImageAt = now;
    if (timeline) this.#addShownFrames(timeline, (now - this.startedAt) / 1000, timeline.clock.playbackTime(now));
    this.#onLastImage();
  }

  /**
   * @param {Timeline} timeline
   * @param {number} elapsed s since the start
   * @param {number} playbackTime
   */
  #addShownFrames(timeline, elapsed, playbackTime) {
    if (timeline !== this.#timeline) this.#shownTime = -Infinity;
    this.#timeline = timeline;
    for (const frame of timeline.frames) {
      if (frame.time > playbackTime) break;
      if (!isFaceFrame(frame) || frame.time <= this.#shownTime) continue;
      this.#shownTime = frame.time;
      const time = elapsed - (playbackTime - frame.time);
      if (time > this.poses[this.poses.length - 1].time) this.poses.push({ weights: frame.weights, head: frame.head, time });
    }
  }

  /**
   * Stop with the next image, and return the WAV, CSV and video files that are available.
   * @returns {Promise<RecordedFile[]>}
   */
  stop() {
    return (this.#stopping ??= this.#stop());
  }

  async #stop() {
    await new Promise((resolve) => {
      this.#onLastImage = () => resolve(undefined);
      setTimeout(resolve, LAST_IMAGE_MS);
    });
    this.#onLastImage = () => {};
    const { startedAt, mediaRecorder } = this;
    const duration = startedAt === null ? 0 : (this.lastImageAt - startedAt) / 1000;
    this.imageTrack = undefined;
    for (const track of this.soundTracks) track.stop();
    await new Promise((resolve) => setTimeout(resolve, FLUSH_MS));
    this.audio.setRecording(false);
    const stamp = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
    const name = `talk-${stamp}`;
    /** @type {RecordedFile[]} */
    const files = [];
    if (startedAt === null) return files;
    if (this.hasSound) {
      files.push({ name: `${name}.wav`, blob: encodeWav(this.#joinSamples(startedAt, duration), this.sampleRate) });
    }
    if (this.poses.length > 1) {
      const csv = encodeLiveLinkCsv(this.#fillPoses(duration), this.names);
      files.push({ name: `${name}.csv`, blob: new Blob([csv], { type: 'text/csv' }) });
    }
    if (mediaRecorder) {
      await new Promise((resolve) => {
        mediaRecorder.onstop = resolve;
        mediaRecorder.stop();
      });
      const type = mediaRecorder.mimeType.split(';')[0];
      const extension = type === 'video/mp4' ? 'mp4' : 'webm';
      files.push({ name: `${name}.${extension}`, blob: new Blob(this.videoChunks, { type }) });
    }
    return files;
  }

  /**
   * The poses, each of them repeated at the frame rate until the next one.
   * @param {number} duration s
   */
  #fillPoses(duration) {
    const period = 1 / this.frameRate;
    const shown = this.poses.filter(({ time }) => time === 0 || time < duration - period / 2);
    return shown.flatMap((pose, i) => {
      const end = shown[i + 1]?.time ?? duration;
      const count = Math.max(1, Math.round((end - pose.time) / period));
      return Array.from({ length: count }, (_, k) => ({ ...pose, time: pose.time + k * period }));
    });
  }

  /**
   * The played audio, in silence where there was none.
   * @param {number} startedAt ms
   * @param {number} duration s
   */
  #joinSamples(startedAt, duration) {
    const { sampleRate } = this;
    const out = new Int16Array(Math.round(duration * sampleRate));
    let position = -Infinity; // behind the chunk before
    for (const { samples, audibleAt } of this.#chunks) {
      const due = Math.round(((audibleAt - startedAt) / 1000) * sampleRate);
      if (Math.abs(due - position) > MAX_SLIP_SECONDS * sampleRate) position = due;
      const skipped = Math.max(0, -position);
      const space = out.length - position;
      if (skipped < samples.length && space > 0) out.set(samples.subarray(skipped, space), position + skipped);
      position += samples.length;
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
