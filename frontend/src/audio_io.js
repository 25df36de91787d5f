// SPDX-License-Identifier: Apache-2.0
// Everything with sound: the microphone, a file or what a watched talker hears goes into the worklet's delay line, and
// from there, later by what the frames need, to the loudspeaker and to a recording.
import { SoundClock } from './clocks.js';

const MOST_BYTES = 64e6,
  MOST_SECONDS = 1800;
const MODEL_RATE = 16000;
const SOFT = 0.004; // share by which audible sound may be played faster or slower

export class Sound {
  // address: of the worklet's script.
  constructor(address) {
    this.address = address;
    this.onpiece = () => {}; // (Int16Array, position of its first sample): what is heard
    this.onsend = () => {}; // (Int16Array, position of its first sample, rate): the same, for the server
    this.onend = () => {};
    this.kind = null;
    this.muted = true;
  }

  static get possible() {
    return typeof AudioContext === 'function' && 'audioWorklet' in AudioContext.prototype && window.isSecureContext;
  }

  get rate() {
    return this.context.sampleRate;
  }

  // Hz at which `onsend` gets its pieces.
  get sendRate() {
    return this.sent || this.rate;
  }

  async _open(rate) {
    await this.close();
    if (!Sound.possible)
      throw new Error(
        'the browser gives sound to a page only over https or from localhost: see docs/web.md for both',
      );
    this.context = new AudioContext({ latencyHint: 'interactive', ...(rate ? { sampleRate: rate } : {}) });
    await this.context.audioWorklet.addModule(this.address);
    if (this.context.state === 'suspended') await this.context.resume();
    this.line = new AudioWorkletNode(this.context, 'voice-line', {
      numberOfInputs: 1,
      numberOfOutputs: 1,
      outputChannelCount: [1],
    });
    this.volume = new GainNode(this.context, { gain: this.muted ? 0 : 1 });
    this.recording = new MediaStreamAudioDestinationNode(this.context);
    this.line.connect(this.volume).connect(this.context.destination);
    this.line.connect(this.recording);
    this.line.port.onmessage = ({ data }) => this._told(data);
  }

  _told(data) {
    if (!this.clock) return;
    if (data.sent) return this.onsend(data.sent, (data.at * this.rate) / this.sent, this.sent);
    this.clock.told(data, performance.now());
    if (!data.samples) return undefined;
    if (!this.sent || this.sent === this.rate) this.onsend(data.samples, data.at, this.rate);
    return this.onpiece(data.samples, data.at);
  }

  // delay: seconds that the sound waits for its frames at first; from: context frame of the first sample; sent: Hz at
  // which the server gets it, the context's own if left out.
  _begin(feed, delay, { from, sent } = {}) {
    this.sent = sent;
    this.first = delay;
    this.clock = new SoundClock(this.context);
    this.clock.shift = (seconds, soft) => this._shift(seconds, soft);
    this.line.port.postMessage({ do: 'begin', feed, delay: Math.round(delay * this.rate), from, sent });
  }

  _shift(seconds, soft) {
    const by = Math.round(seconds * this.rate);
    if (this.muted) {
      if (!soft) this.clock.delay += by;
      this.line.port.postMessage({ do: 'delay', by, slew: soft ? 0.05 : 0 });
    } else {
      this.line.port.postMessage({ do: 'delay', by, slew: soft ? SOFT : 0, wait: !soft && by > 0 });
    }
  }

  // A new voice begins in the same sound: what waited for the old one's frames, if it is much, is not heard any more.
  again() {
    const by = Math.round(this.first * this.rate) - (this.clock?.delay ?? 0);
    if (!this.clock || by > -0.5 * this.rate) return;
    this.clock.delay += by;
    this.line.port.postMessage({ do: 'delay', by, slew: 0 });
  }

  // Have the sound wait where it comes to that position of the line; null: nowhere.
  limit(position) {
    this.line?.port.postMessage({ do: 'limit', limit: position });
  }

  async microphone(delay) {
    this.setMuted(true);
    await this._open();
    const wish = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: wish });
    } catch (error) {
      await this.close();
      const why = {
        NotAllowedError: 'it was not allowed: allow it beside the address',
        NotFoundError: 'none is there: plug one in',
      };
      throw new Error(`the microphone cannot be used (${why[error.name] || error.message})`);
    }
    const source = new MediaStreamAudioSourceNode(this.context, { mediaStream: this.stream });
    this.inputLatency = this.stream.getAudioTracks()[0].getSettings().latency || 0;
    source.connect(this.line);
    this.kind = 'microphone';
    this._begin(false, delay, { sent: MODEL_RATE }); // the server's resampler would take 12 ms
  }

  // bytes: ArrayBuffer of an audio file in any format of the browser; begins at once.
  async file(bytes, name, delay) {
    if (bytes.byteLength > MOST_BYTES)
      throw new Error(`${name} has ${Math.round(bytes.byteLength / 1e6)} MB: give at most ${MOST_BYTES / 1e6}`);
    this.setMuted(false);
    await this._open(ownRate(bytes));
    let buffer;
    try {
      buffer = await this.context.decodeAudioData(bytes);
    } catch {
      await this.close();
      throw new Error(`${name} is no audio that this browser can read: convert it to WAV`);
    }
    if (buffer.duration > MOST_SECONDS) {
      await this.close();
      throw new Error(`${name} lasts ${Math.round(buffer.duration / 60)} min: give at most ${MOST_SECONDS / 60}`);
    }
    this.duration = buffer.duration;
    this.source = new AudioBufferSourceNode(this.context, { buffer });
    this.source.connect(this.line);
    this.source.onended = () => this.onend();
    this.kind = 'file';
    const from = 128 * Math.ceil(((this.context.currentTime + 0.06) * this.rate) / 128); // both begin with this sample
    this._begin(false, delay, { from });
    this.source.start(from / this.rate);
  }

  // Sound that the page brings itself, at `rate` Hz: see `feed`.
  async watch(rate, delay) {
    await this._open(rate);
    this.kind = 'watch';
    this._begin(true, delay);
  }

  // Have (n,) int16 sound at position `at` of the line.
  feed(at, samples) {
    this.line.port.postMessage({ do: 'feed', at, samples });
  }

  setMuted(muted) {
    this.muted = muted;
    if (this.volume) this.volume.gain.setTargetAtTime(muted ? 0 : 1, this.context.currentTime, 0.01);
  }

  async close() {
    this.kind = this.clock = null;
    for (const track of this.stream?.getTracks() || []) track.stop();
    if (this.source) {
      this.source.onended = null;
      this.source = null;
    }
    this.stream = null;
    const { context } = this;
    this.context = this.volume = null;
    if (this.line) {
      this.line.port.onmessage = null;
      this.line.port.postMessage({ do: 'stop' });
      this.line = null;
    }
    if (context && context.state !== 'closed') await context.close();
  }
}

// The sample rate that a WAV or FLAC file tells, so that the browser need not resample it; undefined for others.
function ownRate(bytes) {
  const view = new DataView(bytes),
    word = (at) => (at + 4 <= view.byteLength ? view.getUint32(at) : 0);
  let rate;
  if (word(0) === 0x52494646 && word(8) === 0x57415645) {
    // RIFF … WAVE
    for (let at = 12; at + 16 <= view.byteLength && !rate; at += 8 + view.getUint32(at + 4, true)) {
      if (word(at) === 0x666d7420) rate = view.getUint32(at + 12, true); // "fmt "
    }
  } else if (word(0) === 0x664c6143) {
    // fLaC, then STREAMINFO
    rate = word(18) >>> 12;
  }
  return rate >= 8000 && rate <= 96000 ? rate : undefined;
}
