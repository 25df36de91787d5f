// SPDX-License-Identifier: Apache-2.0
// Keeps what is said and shown between start and stop: a WAV of the sound, a Live Link CSV of the frames on the same
// time, and a video of the picture with its sound. All of it stays in the browser.
import { livelink } from './livelink.js';

export const LONGEST = 600; // s
const KINDS = [
  'video/mp4;codecs=avc1.42E01F,mp4a.40.2',
  'video/webm;codecs=vp9,opus',
  'video/webm;codecs=vp8,opus',
  'video/webm',
];

export class Recorder {
  // canvas: of the face; audio: MediaStream of the sound, or null; rate: of the sound, Hz; frameRate; names: ARKit's.
  constructor(canvas, audio, rate, frameRate, names) {
    Object.assign(this, { rate, frameRate, names, pieces: [], frames: [], begun: performance.now() });
    const kind = typeof MediaRecorder === 'function' && KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    if (!kind || !canvas.captureStream) return;
    const stream = canvas.captureStream(30);
    for (const track of audio?.getAudioTracks() || []) stream.addTrack(track);
    this.media = new MediaRecorder(stream, { mimeType: kind, videoBitsPerSecond: 4e6 });
    this.chunks = [];
    this.media.ondataavailable = ({ data }) => this.chunks.push(data);
    this.media.start(1000);
  }

  get seconds() {
    return (performance.now() - this.begun) / 1000;
  }

  sound(samples, time) {
    this.pieces.push({ samples, time });
  }

  frame({ weights, head, time }) {
    if (weights) this.frames.push({ weights, head, time });
  }

  // -> [{name, blob}], what there is of WAV, CSV and video.
  async stop() {
    const name = `talk-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`,
      files = [];
    const from = this._start(),
      frames = this.frames.filter((frame) => frame.time >= from - 1e-6);
    if (this.pieces.length) files.push({ name: `${name}.wav`, blob: wav(this._samples(from, frames), this.rate) });
    if (frames.length)
      files.push({
        name: `${name}.csv`,
        blob: new Blob([livelink(frames, this.names, this.frameRate)], { type: 'text/csv' }),
      });
    if (this.media) {
      const ended = new Promise((resolve) => {
        this.media.onstop = resolve;
      });
      this.media.stop();
      await ended;
      const kind = this.media.mimeType.split(';')[0];
      files.push({
        name: `${name}.${kind === 'video/mp4' ? 'mp4' : 'webm'}`,
        blob: new Blob(this.chunks, { type: kind }),
      });
    }
    return files;
  }

  // The first frame's time from which sound and frames are both there.
  _start() {
    const sound = this.pieces.length ? this.pieces[0].time : -Infinity;
    return this.frames.find((frame) => frame.time >= sound - 1e-6)?.time ?? sound;
  }

  // The sound from the first frame to the end of the last, Int16Array.
  _samples(from, frames) {
    const last = this.pieces[this.pieces.length - 1];
    const end = frames.length
      ? frames[frames.length - 1].time + 1 / this.frameRate
      : last.time + last.samples.length / this.rate;
    const out = new Int16Array(Math.max(0, Math.round((end - from) * this.rate)));
    for (const { samples, time } of this.pieces) {
      const at = Math.round((time - from) * this.rate),
        begin = Math.max(0, -at);
      if (at + samples.length > 0 && at < out.length)
        out.set(samples.subarray(begin, Math.min(samples.length, out.length - at)), at + begin);
    }
    return out;
  }
}

function wav(samples, rate) {
  const head = new DataView(new ArrayBuffer(44)),
    text = (at, word) => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, 'RIFF');
  head.setUint32(4, 36 + 2 * samples.length, true);
  text(8, 'WAVEfmt ');
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, 'data');
  head.setUint32(40, 2 * samples.length, true);
  return new Blob([head, samples], { type: 'audio/wav' });
}
