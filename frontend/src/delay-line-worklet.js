// SPDX-License-Identifier: Apache-2.0
// Audio worklet: a delay line between input and output. It posts the input in chunks of about 10 ms, plays it `delay`
// samples later, and reports with each chunk which sample is being played. Position 0 is the first sample after
// "begin". With an external source the page writes into the line instead of an input node.
import { Resampler } from './resample.js';

const BLOCK = 128; // samples of a render quantum
const LINE_SECONDS = 24;
const CROSSFADE_SAMPLES = 256;
const MAX_HOLD_SECONDS = 2; // of silence while frames are missing; then playback continues without frames
const CHUNK_SECONDS = 0.01;

/** @typedef {import('./worklet_messages.js').WorkletCommand} WorkletCommand */
/** @typedef {import('./worklet_messages.js').BeginCommand} BeginCommand */
/** @typedef {import('./worklet_messages.js').DelayCommand} DelayCommand */
/** @typedef {import('./worklet_messages.js').WriteCommand} WriteCommand */
/** @typedef {import('./worklet_messages.js').WorkletReport} WorkletReport */
/** @typedef {import('./worklet_messages.js').ResampledChunk} ResampledChunk */

class DelayLine {
  /**
   * @param {BeginCommand} options
   * @param {MessagePort} port to the page
   */
  constructor({ external, delay, startFrame, sendRate = 0 }, port) {
    this.port = port;
    this.size = 1 << Math.ceil(Math.log2(LINE_SECONDS * sampleRate));
    this.mask = this.size - 1;
    this.line = new Float32Array(this.size); // ring buffer
    this.external = external;
    /** @type {number | null} */
    this.startFrame = startFrame ?? null;
    this.started = false;
    this.delay = delay; // samples
    this.targetDelay = delay;
    this.previousDelay = delay; // that a cross-fade comes from
    this.slew = 0;
    this.crossfade = 0; // samples left
    this.hold = 0; // samples of silence to insert
    this.held = 0; // samples of silence inserted in a row
    this.limit = Infinity; // position up to which the line may be played
    this.cleared = 0; // position up to which the line has been erased
    this.chunkLength = Math.max(BLOCK, BLOCK * Math.round((CHUNK_SECONDS * sampleRate) / BLOCK));
    this.chunk = new Int16Array(this.chunkLength);
    this.recording = false;
    /** @type {Int16Array | null} */
    this.played = null; // of this chunk
    this.chunkStart = 0;
    this.chunkFill = 0;
    this.resampler = sendRate && sendRate !== sampleRate ? new Resampler(sampleRate, sendRate) : null;
    this.sendChunk = new Int16Array(Math.round(CHUNK_SECONDS * sendRate));
    this.sendFill = 0;
    this.sendPosition = 0;
  }

  /** @param {DelayCommand} command */
  changeDelay({ samples, slew, hold }) {
    if (hold) {
      this.hold += BLOCK * Math.ceil(samples / BLOCK);
      return;
    }
    this.targetDelay += samples;
    this.slew = slew;
    if (!slew) {
      this.hold = 0;
      this.previousDelay = this.delay;
      this.delay = this.targetDelay;
      this.crossfade = CROSSFADE_SAMPLES;
    }
  }

  /** @param {WriteCommand} command */
  write({ position, samples }) {
    if (!this.external || !this.started || this.startFrame === null) return;
    const playing = Math.floor(currentFrame - this.startFrame - this.delay);
    for (let i = 0; i < samples.length; i++) {
      const target = position + i;
      if (target >= playing && target < playing + this.size - 4096) {
        this.line[target & this.mask] = samples[i] / 32768;
      }
    }
  }

  /**
   * Process one block.
   * @param {Float32Array[]} channels input
   * @param {Float32Array} out
   */
  process(channels, out) {
    if (this.startFrame === null || (currentFrame > this.startFrame && !this.started)) {
      this.startFrame = currentFrame;
    }
    if (currentFrame < this.startFrame) return;
    this.started = true;
    const position = currentFrame - this.startFrame;
    if (!this.external) this.#readInput(channels, position);
    if (this.slew && this.delay !== this.targetDelay) {
      const maxStep = BLOCK * this.slew;
      const difference = this.targetDelay - this.delay;
      this.delay =
        Math.abs(difference) <= maxStep ? this.targetDelay : this.delay + Math.sign(difference) * maxStep;
    }
    this.#play(out, position - this.delay);
    if (this.crossfade) this.#fadeFrom(out, position - this.previousDelay);
    this.#applyHold(out, position);
    if (this.external) {
      this.#clearUntil(position - Math.max(this.delay, this.crossfade ? this.previousDelay : 0) - 64);
    }
    this.#report(position, this.startFrame, out);
  }

  /**
   * Mix the input's channels into the line.
   * @param {Float32Array[]} channels
   * @param {number} position
   */
  #readInput(channels, position) {
    const { line, mask } = this;
    const count = channels.length;
    for (let i = 0; i < BLOCK; i++) {
      let value = 0;
      for (let c = 0; c < count; c++) value += channels[c][i];
      line[(position + i) & mask] = count > 1 ? value / count : value;
    }
    if (!this.resampler) return;
    const start = position & mask;
    this.#send(this.resampler.accept(line.subarray(start, start + BLOCK)));
  }

  /**
   * @param {Float32Array} out
   * @param {number} start position of the first sample; fractions are interpolated
   */
  #play(out, start) {
    const { line, mask } = this;
    const whole = Math.floor(start);
    const fraction = start - whole;
    for (let i = 0; i < BLOCK; i++) {
      const k = whole + i;
      if (k < 0) out[i] = 0;
      else if (fraction === 0) out[i] = line[k & mask];
      else out[i] = line[k & mask] + fraction * (line[(k + 1) & mask] - line[k & mask]);
    }
  }

  /**
   * Cross-fade from the line as it was delayed before.
   * @param {Float32Array} out
   * @param {number} start position of the first sample
   */
  #fadeFrom(out, start) {
    const whole = Math.floor(start);
    for (let i = 0; i < BLOCK && this.crossfade; i++, this.crossfade--) {
      const before = whole + i < 0 ? 0 : this.line[(whole + i) & this.mask];
      out[i] += (this.crossfade / CROSSFADE_SAMPLES) * (before - out[i]);
    }
  }

  /**
   * Insert silence while playback has to wait: the first such block fades out, the first one after it fades in.
   * @param {Float32Array} out
   * @param {number} position
   */
  #applyHold(out, position) {
    if (this.held > MAX_HOLD_SECONDS * sampleRate || this.delay > this.size - 4 * sampleRate) {
      this.limit = Infinity;
    }
    if (!this.hold && position + BLOCK - this.delay <= this.limit) {
      if (this.held) applyRamp(out, 0, 1);
      this.held = 0;
      return;
    }
    if (!this.held) {
      applyRamp(out, 1, 0);
    } else {
      out.fill(0);
      this.delay += BLOCK; // the next block plays the same samples
      this.targetDelay += BLOCK;
      this.hold = Math.max(0, this.hold - BLOCK);
    }
    this.held += BLOCK;
  }

  /**
   * Erase what has been played, before the ring buffer wraps around.
   * @param {number} end position
   */
  #clearUntil(end) {
    for (; this.cleared < end; this.cleared++) this.line[this.cleared & this.mask] = 0;
  }

  /** @param {Float32Array} samples at sendRate */
  #send(samples) {
    for (const value of samples) {
      this.sendChunk[this.sendFill++] = toInt16(value);
      if (this.sendFill < this.sendChunk.length) continue;
      /** @type {ResampledChunk} */
      const message = { kind: 'resampled', position: this.sendPosition, samples: this.sendChunk };
      this.port.postMessage(message, [this.sendChunk.buffer]);
      this.sendPosition += this.sendFill;
      this.sendChunk = new Int16Array(this.sendFill);
      this.sendFill = 0;
    }
  }

  /**
   * @param {number} position
   * @param {number} startFrame
   * @param {Float32Array} out
   */
  #report(position, startFrame, out) {
    const { chunk, chunkFill } = this;
    if (!chunkFill) this.played = this.recording ? new Int16Array(this.chunkLength) : null;
    this.played?.set(Array.from(out, toInt16), chunkFill);
    if (!this.external) {
      for (let i = 0; i < BLOCK; i++) chunk[chunkFill + i] = toInt16(this.line[(position + i) & this.mask]);
    }
    this.chunkFill += BLOCK;
    if (this.chunkFill < this.chunkLength) return;
    /** @type {WorkletReport} */
    const report = {
      kind: 'report',
      position: this.chunkStart,
      end: position + BLOCK,
      startFrame,
      delay: this.delay,
      samples: this.external ? null : chunk,
      played: this.played,
      frame: currentFrame + BLOCK - this.chunkLength,
    };
    const transferred = /** @type {ArrayBuffer[]} */ ([report.samples?.buffer, report.played?.buffer].filter(Boolean));
    this.port.postMessage(report, transferred);
    this.chunk = new Int16Array(this.chunkLength);
    this.chunkFill = 0;
    this.chunkStart = position + BLOCK;
  }
}

class DelayLineProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    /** @type {DelayLine | null} */
    this.line = null;
    this.port.onmessage = ({ data }) => this.#onCommand(data);
  }

  /**
   * @param {Float32Array[][]} inputs
   * @param {Float32Array[][]} outputs
   */
  process(inputs, outputs) {
    this.line?.process(inputs[0], outputs[0][0]);
    return true;
  }

  /** @param {WorkletCommand} message */
  #onCommand(message) {
    if (message.command === 'begin') this.line = new DelayLine(message, this.port);
    else if (message.command === 'stop') this.line = null;
    else if (message.command === 'delay') this.line?.changeDelay(message);
    else if (message.command === 'write') this.line?.write(message);
    else if (message.command === 'record' && this.line) this.line.recording = message.enabled;
    else if (message.command === 'limit' && this.line) this.line.limit = message.position ?? Infinity;
  }
}

/**
 * Multiply by a linear ramp.
 * @param {Float32Array} samples
 * @param {number} from
 * @param {number} to
 */
function applyRamp(samples, from, to) {
  for (let i = 0; i < samples.length; i++) samples[i] *= from + ((to - from) * i) / samples.length;
}

/** @param {number} value -1..1 */
const toInt16 = (value) => Math.max(-32768, Math.min(32767, Math.round(32768 * value)));

registerProcessor('delay-line', DelayLineProcessor);
