// The page: joins sources of sound, the server, the face and the panel. `?detail=high`, medium, low or lowest in the
// address draws so, whatever it costs.
import { Avatar } from './face/avatar.js';
import { Detail } from './face/detail.js';
import { Head } from './face/head.js';
import { fetchFace } from './face/pack.js';
import { Studio } from './face/studio.js';
import { WallClock } from './clocks.js';
import { Link } from './link.js';
import { Measure } from './measure.js';
import { Numbers } from './numbers.js';
import { Panel } from './panel.js';
import { Plots } from './plots.js';
import { AUDIO, VERTICES, packPcm } from './protocol.js';
import { LONGEST, Recorder } from './recorder.js';
import { Sound } from './sound.js';
import { mix, Timeline } from './timeline.js';

const WATCH_RATE = 16000; // Hz of a watched talker's sound
const $ = (id) => document.getElementById(id);
const options = new URLSearchParams(location.search);

class Page {
  async start() {
    this.detail = new Detail(options.get('detail') || 'auto', (settings) => this.draws(settings));
    this.studio = new Studio($('face'), this.detail.settings);
    this.measure = new Measure(this.studio.renderer.getContext());
    this.sound = new Sound('/voice-worklet.js');
    this.sound.onpiece = (samples, at) => this.heard(samples, at);
    this.sound.onend = () => { this.ended = true; };
    this.panel = new Panel($('controls'), (changes) => this.link.send({ type: 'set', ...changes }));
    this.epoch = 0;
    this.source = null;
    this.now = { weights: new Float32Array(52), head: new Float32Array([0, 0, 0, 1]) };
    this.faces = {};
    const pack = await fetchFace('/default.face');
    this.lip = pack.lip ? { bias: pack.lipBias, row: pack.lip } : null;
    this.faces.default = new Head(pack, this.detail.settings);
    this.show('default');
    this.wire();
    const address = new URL('/socket', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    address.search = '';
    this.link = new Link(address.href, {
      text: (message) => this.text(message), frame: (frame) => this.frame(frame), down: (sentence) => this.down(sentence),
    });
    requestAnimationFrame((now) => this.draw(now));
  }

  // -- the server --

  async text(message) {
    if (message.type === 'hello') {
      this.hello = message;
      this.index = Object.fromEntries(message.names.map((name, i) => [name, i]));
      this.plots ||= new Plots($('curves'), $('bars'), message.names);
      this.numbers ||= new Numbers($('numbers'));
      this.panel.build(message.controls);
      $('dot').classList.add('on');
      $('model').textContent = `${message.model} · ${message.device}`;
      $('facts').textContent = `${message.frame_rate} frames/s, look-ahead ${Math.round(1000 * message.lookahead)} ms; `
        + `version ${message.version}. Nothing you open or record leaves this browser but the sound, to this server.`;
      $('watch').disabled = !message.watch;
      if (message.vertices && !this.faces.model) {
        this.faces.model = new Head(await fetchFace('/model.face'), { ...this.detail.settings, fine: false });
        this.show('model');
      }
      this.looks();
      this.say('');
      if (Object.keys(this.panel.values).length) this.link.send({ type: 'set', ...this.panel.values });
      if (this.source === 'watch') this.watch();
      else if (this.source) this.speak();
      else this.idle();
    } else if (message.type === 'state') {
      this.leftOut = message.left_out;
      this.visitors = message.visitors;
    } else if (message.type === 'watching') {
      if (this.source === 'watch' && !this.timeline?.newest) this.say(`waiting for a talker on ${message.topic}, domain ${message.domain}`);
    } else if (message.text) {
      this.say(message.text, message.type !== 'error' || true);
    }
  }

  down(sentence) {
    $('dot').classList.remove('on');
    this.say(sentence, true);
  }

  frame(frame) {
    if (frame.epoch !== this.epoch || !this.timeline) return;
    const now = performance.now();
    if (this.source === 'watch' && !this.placed(frame, now)) return;
    if (frame.kind === AUDIO) return this.watchedSound(frame);
    if (this.source === 'watch') this.say('');
    this.timeline.add(frame, now);
    this.measure.model.push([now, frame.modelMs]);
    if (this.measure.model.length > 250) this.measure.model.shift();
    this.dropped = frame.dropped;
    this.recorder?.frame(frame);
    if (this.lip && frame.weights) this.plots?.lip(frame.time, 1000 * (this.lip.bias + this.lip.row.reduce((sum, value, i) => sum + value * frame.weights[i], 0)));
    if (this.history) this.history.push({ time: frame.time, weights: Array.from(frame.weights || []), epoch: frame.epoch });
  }

  // -- sources --

  next(clock, eager) {
    this.epoch = (this.epoch + 1) % 256;
    this.timeline = new Timeline(clock, this.hello.frame_rate, { weights: this.now.weights.slice(), head: this.now.head.slice() }, eager);
    this.plots?.clear();
    this.measure.begin(performance.now());
    this.mark();
    return this.epoch;
  }

  // No voice: the face lives on by itself.
  idle() {
    this.source = null;
    this.link.send({ type: 'rest', epoch: this.next(new WallClock(), true) });
  }

  async begin(source, open) {
    if (!this.hello || this.busy) return;
    this.busy = true;
    try {
      await this.finishRecording();
      this.source = null;
      await open(this.hello.lookahead + 2 / this.hello.frame_rate);
      this.source = source;
      this.ended = false;
      this.speak();
      this.say('');
    } catch (error) {
      this.say(error.message, true);
      this.idle();
    } finally {
      this.busy = false;
      this.mark();
    }
  }

  microphone() { return this.begin('microphone', (delay) => this.sound.microphone(delay + 0.04)); }

  file(bytes, name) { return this.begin('file', (delay) => this.sound.file(bytes, name, delay + 0.12)); }

  // A new voice of the source that is open.
  speak() {
    const { clock } = this.sound;
    this.sounding = null;
    this.link.send({ type: 'start', epoch: this.next(clock, this.source === 'microphone'), rate: this.sound.rate, seed: this.panel.values.seed ?? null });
  }

  async watch() {
    if (!this.hello || this.busy) return;
    this.busy = true;
    try {
      await this.finishRecording();
      this.sound.setMuted(false);
      if (Sound.possible) await this.sound.watch(WATCH_RATE, 0.15).catch(() => this.sound.close());
      else await this.sound.close();
      this.source = 'watch';
      this.sounding = null;
      this.link.send({ type: 'watch', epoch: this.next(this.sound.clock || new WallClock(), false) });
    } finally {
      this.busy = false;
      this.mark();
    }
  }

  async stop() {
    await this.finishRecording();
    await this.sound.close();
    this.idle();
  }

  // A piece of sound from the worklet.
  heard(samples, at) {
    if (this.source === 'watch' || !this.source || !this.link.open) return;
    const { clock, rate } = this.sound;
    if (this.sounding !== this.epoch) {
      this.sounding = this.epoch;
      clock.origin = at;
    }
    const time = (at - clock.origin) / rate;
    this.link.bytes(packPcm(this.epoch, samples));
    this.plots?.sound(samples, time, rate);
    this.recorder?.sound(samples, time);
  }

  // The watched talker's time laid on the sound's: at first, and where its stamps jump.
  placed(frame, now) {
    const { clock } = this.timeline, { newest } = this.timeline;
    if (newest && frame.kind !== AUDIO && (frame.time < newest.time - 0.5 || frame.time > newest.time + 3)) {
      this.timeline = new Timeline(clock, this.hello.frame_rate, { weights: this.now.weights.slice(), head: this.now.head.slice() }, false);
      if (clock.set) clock.base = null;
      this.sounding = null;
    }
    if (clock.set) return true;
    if (this.sounding === this.epoch) return true;
    if (frame.kind === AUDIO && !this.timeline.newest) return false; // the frames say when
    clock.origin = 0;
    const heard = clock.heard(now);
    if (heard === -Infinity) return false;
    clock.origin = Math.round((heard - (frame.time - 1 / this.hello.frame_rate - 0.1)) * clock.rate);
    this.sounding = this.epoch;
    return true;
  }

  watchedSound({ time, samples }) {
    if (!this.sound.clock) return;
    const { clock } = this.sound;
    this.sound.feed(Math.round(time * WATCH_RATE) + clock.origin, samples);
    this.plots?.sound(samples, time, WATCH_RATE);
    this.recorder?.sound(samples, time);
  }

  async interrupt() {
    if (this.source === 'watch' || !this.hello) return;
    const live = this.source === 'microphone';
    if (this.source === 'file') {
      this.source = null;
      await this.finishRecording();
      await this.sound.close();
    }
    const epoch = this.next(new WallClock(), true);
    this.link.send({ type: 'interrupt', epoch });
    if (live) setTimeout(() => { if (this.epoch === epoch && this.source === 'microphone') this.speak(); }, 400);
  }

  // -- the picture --

  draw(now) {
    requestAnimationFrame((next) => this.draw(next));
    const { measure, timeline } = this;
    if (this.then) this.detail.picture(now - this.then);
    this.then = now;
    measure.frame(now, !!this.sound.clock && this.source !== null && timeline?.clock === this.sound.clock);
    if (timeline) timeline.lead = measure.lag / 1000;
    const shown = timeline?.at(performance.now() + measure.lag) || null;
    if (shown) this.pose(shown, timeline);
    this.faces[this.which].cull?.(this.studio.camera.position);
    this.studio.render();
    measure.drawn(timeline, shown);
    if (now - (this.plotted || 0) > 45 && this.plots) {
      this.plotted = now;
      this.plots.draw(timeline ? timeline.clock.heard(now) : 0, this.now.weights);
      this.progress(now);
    }
    if (now - (this.counted || 0) > 400 && this.numbers) {
      this.counted = now;
      this.numbers.show(this);
    }
    if (this.source === 'file' && this.ended && timeline.clock.heard(now) > this.sound.duration + 0.7) this.stop();
    if (this.recorder && this.recorder.seconds > LONGEST) this.finishRecording();
  }

  pose({ from, to, share, fade, time }, timeline) {
    const face = this.faces[this.which];
    if (from.kind === VERTICES) {
      if (face.displace) face.displace(share > 0.5 ? to.offsets : from.offsets, share > 0.5 ? to.scale : from.scale);
      return;
    }
    mix(from, to, share, this.now);
    if (fade < 1 && timeline.before) mix(timeline.before, this.now, fade, this.now);
    face.pose(this.now.weights, this.now.head, this.index);
    if (this.trace) this.trace.push([time, ...this.now.weights]); // what is shown, for tests
  }

  show(which) {
    const face = this.faces[which];
    if (this.which && this.faces[this.which]) this.studio.scene.remove(this.faces[this.which].object);
    this.which = which;
    this.studio.scene.add(face.object);
    this.studio.frame(face.frame());
    this.looks();
  }

  looks() {
    const names = { default: 'default head', model: 'the model\'s own', avatar: this.faces.avatar?.name };
    const allowed = this.hello?.vertices && this.source !== 'watch' ? ['model', 'default'] : ['default', 'avatar'];
    $('which').replaceChildren(...allowed.filter((key) => this.faces[key]).map((key) => new Option(names[key], key, false, key === this.which)));
    $('detail').value = this.detail.wish;
  }

  // A level of detail has been chosen, or was too much.
  draws(settings) {
    this.studio?.setDetail(settings);
    this.faces?.default?.setDetail(settings);
    this.faces?.model?.setDetail({ ...settings, fine: false });
  }

  async avatar(file) {
    try {
      if (!this.hello) return;
      const avatar = await Avatar.read(await file.arrayBuffer(), file.name.slice(0, 60), this.hello.names);
      if (this.which === 'avatar') this.show('default');
      this.faces.avatar?.dispose();
      this.faces.avatar = avatar;
      this.show('avatar');
      this.say('');
    } catch (error) {
      this.say(error.message, true);
    }
  }

  // -- recording --

  record() {
    if (this.recorder) return this.finishRecording();
    const { sound } = this;
    this.recorder = new Recorder($('face'), sound.recording?.stream, sound.context ? sound.rate : 48000, this.hello.frame_rate, this.hello.names);
    return this.mark();
  }

  async finishRecording() {
    if (!this.recorder) return;
    const recorder = this.recorder;
    this.recorder = null;
    this.mark();
    const files = await recorder.stop();
    for (const link of $('downloads').children) URL.revokeObjectURL(link.href);
    $('downloads').replaceChildren(...files.map(({ name, blob }) => {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.textContent = `${name.split('.').pop().toUpperCase()} · ${(blob.size / 1e6).toFixed(1)} MB`;
      return link;
    }));
    $('downloads').hidden = !files.length;
  }

  // -- the page --

  say(sentence, bad = false) {
    $('word').textContent = sentence;
    $('word').className = sentence ? `on${bad ? ' bad' : ''}` : '';
    clearTimeout(this.quiet);
    if (bad && this.link?.up && $('dot').classList.contains('on')) this.quiet = setTimeout(() => this.say(''), 7000);
  }

  mark() {
    for (const name of ['microphone', 'watch']) $(name).classList.toggle('on', this.source === name);
    $('file').classList.toggle('on', this.source === 'file');
    $('record').classList.toggle('on', !!this.recorder);
    $('record').textContent = this.recorder ? 'Stop' : 'Record';
    $('interrupt').disabled = this.source === 'watch';
    $('sound').setAttribute('aria-pressed', String(!!this.source && !this.sound.muted));
    $('sound').disabled = !this.sound.context;
  }

  progress(now) {
    const share = this.source === 'file' ? Math.min(1, Math.max(0, this.timeline.clock.heard(now) / this.sound.duration)) : 0;
    $('progress').firstElementChild.style.transform = `scaleX(${share})`;
  }

  wire() {
    $('microphone').onclick = () => (this.source === 'microphone' ? this.stop() : this.microphone());
    $('file').onclick = () => (this.source === 'file' ? this.stop() : $('pick-audio').click());
    $('sample').onclick = async () => this.file(await (await fetch('/voice.flac')).arrayBuffer(), 'the sample');
    $('watch').onclick = () => (this.source === 'watch' ? this.stop() : this.watch());
    $('interrupt').onclick = () => this.interrupt();
    $('sound').onclick = () => { this.sound.setMuted(!this.sound.muted); this.mark(); };
    $('record').onclick = () => this.hello && this.record();
    $('avatar').onclick = () => $('pick-face').click();
    $('which').onchange = () => this.show($('which').value);
    $('detail').onchange = () => this.detail.set($('detail').value);
    for (const id of ['pick-audio', 'pick-face']) {
      $(id).onchange = () => { if ($(id).files[0]) this.open($(id).files[0]); $(id).value = ''; };
    }
    window.addEventListener('keydown', ({ key }) => { if (key === 'Escape') this.interrupt(); });
    window.addEventListener('dragover', (event) => { event.preventDefault(); document.body.classList.add('dropping'); });
    window.addEventListener('dragleave', (event) => { if (!event.relatedTarget) document.body.classList.remove('dropping'); });
    window.addEventListener('drop', (event) => {
      event.preventDefault();
      document.body.classList.remove('dropping');
      if (event.dataTransfer.files[0]) this.open(event.dataTransfer.files[0]);
    });
    document.addEventListener('visibilitychange', () => {
      if (this.source || !this.hello) return;
      if (document.hidden) this.link.send({ type: 'pause' });
      else this.idle();
    });
  }

  async open(file) {
    if (/\.(glb|gltf)$/i.test(file.name)) return this.avatar(file);
    if (file.size > 64e6) return this.say('this file is larger than 64 MB: give a shorter one', true);
    return this.file(await file.arrayBuffer(), file.name.slice(0, 60));
  }
}

const page = new Page();
window.talk = page; // for tests, measurements and the curious
page.start().catch((error) => {
  console.error(error);
  $('word').textContent = /WebGL/i.test(error.message) ? 'This browser draws no 3D (WebGL is off): the face cannot be shown.' : error.message;
  $('word').className = 'on bad';
});
