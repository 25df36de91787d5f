// SPDX-License-Identifier: Apache-2.0
// The audio thread: a delay line between what is heard and what is played. It hands what it hears to the page in pieces
// of about 10 ms, plays it `delay` samples later, and tells with each piece which sample is being played. Position 0 is
// the first sample that "begin" asks for. In feed mode the page writes the line instead of an input.
import { Resampler } from './resample.js';

const SECONDS = 24,
  FADE = 256,
  LONGEST = 2; // s that it waits; then it goes on without a face

class VoiceLine extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = 1 << Math.ceil(Math.log2(SECONDS * sampleRate));
    this.ring = new Float32Array(this.size);
    this.piece = Math.max(128, 128 * Math.round((0.01 * sampleRate) / 128));
    this.feed = this.running = false;
    this.port.onmessage = ({ data }) => this[`on_${data.do}`](data);
  }

  // from: context frame of position 0, a multiple of 128; now, if it is not given. sent: Hz at which pieces of what is
  // heard are handed out besides, for the server; none, if it is not given.
  on_begin({ feed, delay, from, sent }) {
    this.ring.fill(0);
    this.feed = feed;
    this.first = from ?? null;
    this.delay = this.target = delay; // samples
    this.slew = this.hold = this.held = 0;
    this.limit = Infinity;
    this.fading = 0;
    this.cleared = 0;
    this.pieceStart = 0;
    this.out = new Int16Array(this.piece);
    this.filled = 0;
    this.resampler = sent && sent !== sampleRate ? new Resampler(sampleRate, sent) : null;
    this.ready = new Int16Array(Math.round(0.01 * (sent || 0)));
    this.readied = this.handed = 0;
    this.begun = false;
    this.running = true;
  }

  on_stop() {
    this.running = false;
  }

  // Play `by` samples later or earlier: by playing a little faster or slower; by waiting in silence, so that nothing is
  // heard twice; or at once, with a short cross-fade.
  on_delay({ by, slew, wait }) {
    if (!this.running) return;
    if (wait) {
      this.hold += 128 * Math.ceil(by / 128);
      return;
    }
    this.target += by;
    this.slew = slew;
    if (!slew) {
      this.hold = 0;
      this.old = this.delay;
      this.delay = this.target;
      this.fading = FADE;
    }
  }

  // Play only what lies before that position.
  on_limit({ limit }) {
    this.limit = limit ?? Infinity;
  }

  on_feed({ at, samples }) {
    if (!this.running || !this.feed || !this.begun) return;
    const playing = Math.floor(currentFrame - this.first - this.delay);
    for (let i = 0; i < samples.length; i++) {
      const place = at + i;
      if (place >= playing && place < playing + this.size - 4096)
        this.ring[place & (this.size - 1)] = samples[i] / 32768;
    }
  }

  process(inputs, outputs) {
    const out = outputs[0][0];
    if (!this.running) return true;
    if (this.first === null || (currentFrame > this.first && !this.begun)) this.first = currentFrame;
    if (currentFrame < this.first) return true;
    this.begun = true;
    const now = currentFrame - this.first,
      mask = this.size - 1,
      { ring } = this;
    if (!this.feed) {
      const input = inputs[0],
        count = input.length;
      for (let i = 0; i < 128; i++) {
        let value = 0;
        for (let c = 0; c < count; c++) value += input[c][i];
        ring[(now + i) & mask] = count > 1 ? value / count : value;
      }
      if (this.resampler) this._send(this.resampler.accept(ring.subarray(now & mask, (now & mask) + 128)));
    }
    if (this.slew && this.delay !== this.target) {
      const most = 128 * this.slew,
        gap = this.target - this.delay;
      this.delay = Math.abs(gap) <= most ? this.target : this.delay + Math.sign(gap) * most;
    }
    this._play(out, now - this.delay);
    if (this.fading) this._fade(out, now - this.old);
    this._wait(out, now);
    if (this.feed) this._clear(now - Math.max(this.delay, this.fading ? this.old : 0) - 64);
    this._tell(now);
    return true;
  }

  _play(out, from) {
    const whole = Math.floor(from),
      part = from - whole,
      mask = this.size - 1,
      { ring } = this;
    if (part === 0) {
      for (let i = 0; i < 128; i++) out[i] = whole + i < 0 ? 0 : ring[(whole + i) & mask];
    } else {
      for (let i = 0; i < 128; i++) {
        const k = whole + i;
        out[i] = k < 0 ? 0 : ring[k & mask] + part * (ring[(k + 1) & mask] - ring[k & mask]);
      }
    }
  }

  // Hold the sound for a block where it must wait: the first such block fades out, silence follows, the sound fades in.
  _wait(out, now) {
    if (this.held > LONGEST * sampleRate || this.delay > this.size - 4 * sampleRate) this.limit = Infinity;
    if (!this.hold && now + 128 - this.delay <= this.limit) {
      if (this.held) ramp(out, 0, 1);
      this.held = 0;
      return;
    }
    if (!this.held) {
      ramp(out, 1, 0);
    } else {
      out.fill(0);
      this.delay += 128; // the same samples are next
      this.target += 128;
      this.hold = Math.max(0, this.hold - 128);
    }
    this.held += 128;
  }

  _fade(out, from) {
    const whole = Math.floor(from),
      mask = this.size - 1;
    for (let i = 0; i < 128 && this.fading; i++, this.fading--) {
      const share = this.fading / FADE,
        before = whole + i < 0 ? 0 : this.ring[(whole + i) & mask];
      out[i] += share * (before - out[i]);
    }
  }

  // What has been played is silence when the line comes round.
  _clear(until) {
    const mask = this.size - 1;
    for (; this.cleared < until; this.cleared++) this.ring[this.cleared & mask] = 0;
  }

  _send(samples) {
    for (const value of samples) {
      this.ready[this.readied++] = s16(value);
      if (this.readied < this.ready.length) continue;
      this.port.postMessage({ sent: this.ready, at: this.handed }, [this.ready.buffer]);
      this.handed += this.readied;
      this.ready = new Int16Array(this.readied);
      this.readied = 0;
    }
  }

  _tell(now) {
    const mask = this.size - 1,
      { out } = this;
    if (!this.feed) {
      for (let i = 0; i < 128; i++) {
        out[this.filled + i] = s16(this.ring[(now + i) & mask]);
      }
    }
    this.filled += 128;
    if (this.filled < this.piece) return;
    const message = {
      at: this.pieceStart,
      end: now + 128,
      first: this.first,
      delay: this.delay,
      samples: this.feed ? null : out,
    };
    this.port.postMessage(message, this.feed ? [] : [out.buffer]);
    this.out = new Int16Array(this.piece);
    this.filled = 0;
    this.pieceStart = now + 128;
  }
}

function ramp(out, from, to) {
  for (let i = 0; i < out.length; i++) out[i] *= from + ((to - from) * i) / out.length;
}

const s16 = (value) => Math.max(-32768, Math.min(32767, Math.round(32768 * value)));

registerProcessor('voice-line', VoiceLine);
