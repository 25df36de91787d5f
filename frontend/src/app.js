// SPDX-License-Identifier: Apache-2.0
// What the page does: one source of sound at a time, the server that makes frames of it, the timeline that shows them.
import { WallClock } from './clocks.js';
import { Link } from './connection.js';
import { AUDIO, packPcm } from './protocol.js';
import { Recorder } from './recorder.js';
import { Sound } from './audio_io.js';
import { Timeline } from './timeline.js';

const WATCH_RATE = 16000; // Hz of a watched talker's sound
const MOST_WAITING = 2; // s of sound that may wait for a slow network
const AHEAD = 0.02; // s that the sound may be before the newest frame
const REST = 400; // ms from an interruption until the microphone is heard again

export class Page {
  // picture: Picture; on: {hello(message), say(sentence, bad), changed(), sound(samples, time, rate), frame(frame),
  // clear(), files([{name, blob}])}: what the page's elements do.
  constructor(picture, on) {
    Object.assign(this, { picture, on, epoch: 0, source: null, sample: false, values: () => ({}) });
    this.history = null; // frames as they came, for who asks
    this.sound = new Sound('/delay-line-worklet.js');
    this.sound.onsend = (samples, at) => this._send(samples, at);
    this.sound.onpiece = (samples, at) => this._heard(samples, at);
    this.sound.onend = () => {
      this.ended = true;
    };
  }

  connect() {
    const address = new URL('/socket', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    address.search = '';
    this.link = new Link(address.href, {
      text: (message) => this._text(message),
      frame: (frame) => this._frame(frame),
      down: (sentence) => {
        this.up = false;
        this.on.changed();
        this.on.say(sentence, true);
      },
    });
  }

  // -- from the server --

  async _text(message) {
    if (message.type === 'hello') {
      this.hello = message;
      this.up = true;
      await this.picture.told(message.names, message.vertices);
      this.on.hello(message);
      this.on.say('');
      if (Object.keys(this.values()).length) this.link.send({ type: 'set', ...this.values() });
      if (this.source === 'watch') this._watch();
      else if (this.source) this._speak();
      else this.idle();
    } else if (message.type === 'state') {
      this.leftOut = message.left_out;
    } else if (message.type === 'watching') {
      if (this.source === 'watch' && !this.timeline?.newest)
        this.on.say(`waiting for a talker on ${message.topic}, domain ${message.domain}`);
    } else if (message.text) {
      this.on.say(message.text, true);
    }
  }

  _frame(frame) {
    if (frame.epoch !== this.epoch || !this.timeline) return;
    const now = performance.now();
    if (this.source === 'watch' && !this._placed(frame, now)) return;
    if (frame.kind === AUDIO) {
      this._watchedSound(frame);
      return;
    }
    if (this.source === 'watch' && !this.timeline.newest) this.on.say('');
    this.timeline.add(frame, now);
    this._letSound();
    this.dropped = frame.dropped;
    this.picture.measure.worked(now, frame.modelMs);
    this.recorder?.frame(frame);
    this.history?.push({ time: frame.time, weights: Array.from(frame.weights || []) });
    this.on.frame(frame);
  }

  // A sound that is listened to is played as far as there are frames for it.
  _letSound() {
    const { timeline, sound } = this;
    if (timeline.eager || timeline.clock !== sound.clock) return;
    sound.limit(sound.clock.origin + (timeline.newest.time + AHEAD) * sound.rate);
  }

  // -- sources --

  // A new timeline -> its epoch.
  _next(clock, eager) {
    this.epoch = (this.epoch + 1) % 256;
    this.timeline = new Timeline(clock, this.hello.frame_rate, this.picture.state, eager);
    this.picture.measure.begin(performance.now());
    this.sounding = null;
    this.cut = false;
    this.sound.limit(null);
    this.on.clear();
    this.on.changed();
    return this.epoch;
  }

  // No voice: the face lives on by itself.
  idle() {
    this.source = null;
    this.link.send({ type: 'rest', epoch: this._next(new WallClock(), true) });
  }

  async _begin(source, open) {
    if (!this.hello || this.busy) return;
    this.busy = true;
    try {
      await this.finishRecording();
      this.source = null;
      await open(this.hello.lookahead + 2 / this.hello.frame_rate); // s that the sound waits at least
      this.source = source;
      this.ended = false;
      if (source === 'watch') this._watch();
      else this._speak();
      this.on.say('');
    } catch (error) {
      this.on.say(error.message, true);
      this.idle();
    } finally {
      this.busy = false;
      this.on.changed();
    }
  }

  microphone() {
    return this._begin('microphone', (delay) => this.sound.microphone(delay + 0.04));
  }

  file(bytes, name) {
    return this._begin('file', (delay) => this.sound.file(bytes, name, delay + 0.12));
  }

  watch() {
    return this._begin('watch', async () => {
      this.sound.setMuted(false);
      if (Sound.possible) await this.sound.watch(WATCH_RATE, 0.15);
      else await this.sound.close();
    });
  }

  async stop() {
    await this.finishRecording();
    await this.sound.close();
    this.idle();
  }

  // A new voice of the source that is open.
  _speak() {
    this.sound.again();
    const epoch = this._next(this.sound.clock, this.source === 'microphone');
    this.link.send({ type: 'start', epoch, rate: this.sound.sendRate, seed: this.values().seed ?? null });
  }

  _watch() {
    this.link.send({ type: 'watch', epoch: this._next(this.sound.clock || new WallClock(), false) });
  }

  async interrupt() {
    if (this.source === 'watch' || !this.hello) return;
    if (this.source === 'file') {
      this.source = null;
      await this.finishRecording();
      await this.sound.close();
    }
    const epoch = this._next(new WallClock(), true);
    this.link.send({ type: 'interrupt', epoch });
    setTimeout(() => {
      if (this.epoch === epoch && this.source === 'microphone') this._speak();
    }, REST);
  }

  // Seconds of the file that have been heard.
  get heard() {
    const { clock, rate } = this.sound;
    return this.source === 'file' && clock ? clock.heard(performance.now()) + clock.origin / rate : 0;
  }

  // A file has been heard to its end.
  get over() {
    return this.source === 'file' && this.ended && this.heard > this.sound.duration + 0.7;
  }

  // A piece of sound for the server; position `at` of the first is second 0 of the timeline. Where the network takes no
  // more, sound is left out, and a new voice begins behind the hole: all later frames would be at a wrong time.
  _send(samples, at) {
    const { clock, sendRate } = this.sound;
    if (!this.source || this.timeline?.clock !== clock || !this.link.open) return;
    const { waiting } = this.link;
    if (waiting > (this.cut ? 0 : 2 * MOST_WAITING * sendRate)) {
      this.cut = true;
      return;
    }
    if (this.cut) this._speak();
    if (this.sounding !== this.epoch) {
      this.sounding = this.epoch;
      clock.origin = at;
    }
    this.link.bytes(packPcm(this.epoch, samples));
  }

  // The same piece as it was heard, for plots and recording.
  _heard(samples, at) {
    const { clock, rate } = this.sound;
    if (this.sounding === this.epoch && this.source !== 'watch')
      this._kept(samples, (at - clock.origin) / rate, rate);
  }

  _kept(samples, time, rate) {
    this.on.sound(samples, time, rate);
    this.recorder?.sound(samples, time);
  }

  // The watched talker's time laid on the sound's: at first, and where its stamps jump. Whether a frame has its place.
  _placed(frame, now) {
    const { clock, newest } = this.timeline;
    if (newest && frame.kind !== AUDIO && (frame.time < newest.time - 0.5 || frame.time > newest.time + 3)) {
      this.timeline = new Timeline(clock, this.hello.frame_rate, this.picture.state, false);
      if (clock.set) clock.base = null;
      this.sounding = null;
    }
    if (clock.set || this.sounding === this.epoch) return true;
    if (frame.kind === AUDIO && !this.timeline.newest) return false; // the frames say when
    clock.origin = 0;
    const heard = clock.heard(now);
    if (heard === -Infinity) return false;
    clock.origin = Math.round((heard - (frame.time - 1 / this.hello.frame_rate - 0.1)) * clock.rate);
    this.sounding = this.epoch;
    return true;
  }

  _watchedSound({ time, samples }) {
    if (!this.sound.clock) return;
    this.sound.feed(Math.round(time * WATCH_RATE) + this.sound.clock.origin, samples);
    this._kept(samples, time, WATCH_RATE);
  }

  // -- recording --

  record(canvas) {
    const { sound, hello } = this;
    this.recorder = new Recorder(
      canvas,
      sound.recording?.stream,
      sound.context ? sound.rate : 48000,
      hello.frame_rate,
      hello.names,
    );
    this.on.changed();
  }

  async finishRecording() {
    if (!this.recorder) return;
    const recorder = this.recorder;
    this.recorder = null;
    this.on.changed();
    this.on.files(await recorder.stop());
  }
}
