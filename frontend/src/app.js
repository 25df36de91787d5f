// SPDX-License-Identifier: Apache-2.0
// Application state: one audio source at a time, the server that generates frames for it, and the timeline on which
// they are shown.
import { AudioIO } from './audio_io.js';
import { WallClock } from './clocks.js';
import { Connection } from './connection.js';
import { AUDIO, encodePcm } from './protocol.js';
import { Recorder } from './recorder.js';
import { Timeline, isFaceFrame } from './timeline.js';

const WATCH_SAMPLE_RATE = 16000; // Hz, of a watched talker's audio
const MAX_BUFFERED_SECONDS = 2; // of audio that is buffered in the WebSocket
const PLAYBACK_AHEAD_SECONDS = 0.02; // of the newest frame
const RESUME_AFTER_INTERRUPT_MS = 400;
const MICROPHONE_DELAY = 0.04; // s, initial delay beyond the look-ahead
const FILE_DELAY = 0.12;
const WATCH_DELAY = 0.15;
const STREAM_JUMP_SECONDS = [-0.5, 3]; // of a watched talker's time that start a new timeline
const FILE_TAIL_SECONDS = 0.7; // after a file's end, until it is stopped

/** @typedef {import('./protocol.js').Frame} Frame */
/** @typedef {import('./protocol.js').AudioMessage} AudioMessage */
/** @typedef {import('./timeline.js').AnyClock} AnyClock */
/** @typedef {'microphone' | 'file' | 'watch'} Source */

/**
 * The message `hello`.
 * @typedef {object} ServerInfo
 * @property {string} version
 * @property {string} model
 * @property {string} device
 * @property {boolean} vertices whether frames carry vertices
 * @property {number} frame_rate frames/s
 * @property {number} lookahead s
 * @property {string[]} names of the weights
 * @property {Record<string, import('./panel.js').ControlSpec>} controls
 * @property {boolean} watch whether topics can be watched
 * @property {string | null} face name of the face that the server offers, besides the default one
 */

/**
 * Callbacks that update the page's elements.
 * @typedef {object} AppCallbacks
 * @property {(info: ServerInfo) => void} onHello
 * @property {(message: string, isError?: boolean) => void} showStatus
 * @property {() => void} onChange called when the source, the connection or the recording changes
 * @property {(samples: Int16Array, time: number, sampleRate: number) => void} onAudio
 * @property {(frame: Frame) => void} onFrame
 * @property {() => void} onTimelineStart
 * @property {(files: import('./recorder.js').RecordedFile[]) => void} onRecording
 */

export class App {
  /** @type {number | null} */
  #anchoredEpoch = null; // epoch whose time 0 has its position in the delay line
  #skippingAudio = false; // because the network is too slow
  #opening = false;
  #fileEnded = false;

  /**
   * @param {import('./face_view.js').FaceView} view
   * @param {AppCallbacks} callbacks
   * @param {string} url of the WebSocket
   */
  constructor(view, callbacks, url) {
    this.view = view;
    this.callbacks = callbacks;
    this.epoch = 0;
    /** @type {Source | null} */
    this.source = null;
    this.isSample = false; // whether the file is the sample
    this.connected = false;
    /** @type {ServerInfo | null} */
    this.serverInfo = null;
    /** @type {() => Record<string, any>} */
    this.controlValues = () => ({});
    /** @type {Timeline | null} */
    this.timeline = null;
    /** @type {Recorder | null} */
    this.recorder = null;
    this.sendDropped = 0; // frames that the server did not send, because this browser was slow
    this.audioSkipped = 0; // frames whose audio the server skipped
    /** @type {{time: number, weights: number[]}[] | null} */
    this.frameLog = null; // set by tests
    /** @type {import('./plots.js').Plots | null} */
    this.plots = null;
    this.audio = new AudioIO('/delay-line-worklet.js');
    this.audio.onSend = (samples, position) => this.#sendAudio(samples, position);
    this.audio.onInput = (samples, position) => this.#onInput(samples, position);
    this.audio.onEnded = () => {
      this.#fileEnded = true;
    };
    this.connection = new Connection(url, {
      onTextMessage: (message) => this.#onTextMessage(message),
      onBinaryMessage: (message) => this.#onBinaryMessage(message),
      onClose: (reason) => {
        this.connected = false;
        callbacks.onChange();
        callbacks.showStatus(reason, true);
      },
    });
  }

  // ------------------------------------------------------------------------------------------------- from the server

  /** @param {any} message */
  async #onTextMessage(message) {
    if (message.type === 'hello') await this.#onHello(message);
    else if (message.type === 'state') this.sendDropped = message.left_out;
    else if (message.type === 'watching') {
      if (this.source === 'watch' && !this.timeline?.newest) {
        this.callbacks.showStatus(`waiting for a talker on ${message.topic}, domain ${message.domain}`);
      }
    } else if (message.text) this.callbacks.showStatus(message.text, true);
  }

  /** @param {ServerInfo} info */
  async #onHello(info) {
    this.serverInfo = info;
    this.connected = true;
    await this.view.setModel(info);
    this.callbacks.onHello(info);
    this.callbacks.showStatus('');
    const values = this.controlValues();
    if (Object.keys(values).length) this.connection.sendText({ type: 'set', ...values });
    if (this.source === 'watch') this.#startWatching();
    else if (this.source) this.#startStream();
    else this.idle();
  }

  /** @param {Frame | AudioMessage} message */
  #onBinaryMessage(message) {
    if (message.epoch !== this.epoch || !this.timeline) return;
    const now = performance.now();
    if (this.source === 'watch' && !this.#anchorWatched(message, now)) return;
    if (message.kind === AUDIO) {
      this.#onWatchedAudio(message);
      return;
    }
    if (this.source === 'watch' && !this.timeline.newest) this.callbacks.showStatus('');
    this.timeline.add(message, now);
    this.#limitPlayback();
    this.audioSkipped = message.dropped;
    this.view.metrics.addModelTime(now, message.modelMs);
    if (isFaceFrame(message)) this.recorder?.addFrame(message);
    this.frameLog?.push({ time: message.time, weights: isFaceFrame(message) ? [...message.weights] : [] });
    this.callbacks.onFrame(message);
  }

  /** Audio is played only as far as frames have arrived. */
  #limitPlayback() {
    const { timeline, audio } = this;
    if (!timeline?.newest || !audio.clock || timeline.lowLatency || timeline.clock !== audio.clock) return;
    const time = timeline.newest.time + PLAYBACK_AHEAD_SECONDS;
    audio.setLimit(audio.clock.origin + time * audio.sampleRate);
  }

  // --------------------------------------------------------------------------------------------------------- sources

  /**
   * @param {AnyClock} clock
   * @param {boolean} lowLatency
   */
  #makeTimeline(clock, lowLatency) {
    if (!this.serverInfo) throw new Error('not connected');
    return new Timeline(clock, this.serverInfo.frame_rate, this.view.copyPose(), lowLatency);
  }

  /**
   * Start a new timeline.
   * @param {AnyClock} clock
   * @param {boolean} lowLatency
   * @returns {number} its epoch
   */
  #startTimeline(clock, lowLatency) {
    this.epoch = (this.epoch + 1) % 256;
    this.timeline = this.#makeTimeline(clock, lowLatency);
    this.recorder?.onTimelineStart();
    this.view.metrics.reset(performance.now());
    this.#anchoredEpoch = null;
    this.#skippingAudio = false;
    this.audio.setLimit(null);
    this.callbacks.onTimelineStart();
    this.callbacks.onChange();
    return this.epoch;
  }

  /** Without a source: the face shows idle motion. */
  idle() {
    this.source = null;
    this.connection.sendText({ type: 'rest', epoch: this.#startTimeline(new WallClock(), true) });
  }

  /** Start the microphone. */
  startMicrophone() {
    return this.#openSource('microphone', (delay) => this.audio.openMicrophone(delay + MICROPHONE_DELAY));
  }

  /**
   * Play an audio file.
   * @param {ArrayBuffer} bytes
   * @param {string} name for messages
   */
  playFile(bytes, name) {
    return this.#openSource('file', (delay) => this.audio.playFile(bytes, name, delay + FILE_DELAY));
  }

  /** Watch the topics of a running talker. */
  startWatching() {
    return this.#openSource('watch', async () => {
      this.audio.setMuted(false);
      if (AudioIO.isSupported) await this.audio.openStream(WATCH_SAMPLE_RATE, WATCH_DELAY);
      else await this.audio.close();
    });
  }

  /** Stop the source. */
  async stop() {
    await this.finishRecording();
    await this.audio.close();
    this.idle();
  }

  /** Barge-in: discard queued audio and close the mouth. A file is stopped; the microphone is resumed. */
  async interrupt() {
    if (this.source === 'watch' || !this.serverInfo) return;
    if (this.source === 'file') {
      this.source = null;
      await this.finishRecording();
      await this.audio.close();
    }
    const epoch = this.#startTimeline(new WallClock(), true);
    this.connection.sendText({ type: 'interrupt', epoch });
    setTimeout(() => {
      if (this.epoch === epoch && this.source === 'microphone') this.#startStream();
    }, RESUME_AFTER_INTERRUPT_MS);
  }

  /** Seconds of the file that have been played. */
  get filePosition() {
    const { clock, sampleRate } = this.audio;
    if (this.source !== 'file' || !clock) return 0;
    return clock.playbackTime(performance.now()) + clock.origin / sampleRate;
  }

  /** Whether a file has been played to its end. */
  get isFileFinished() {
    return (
      this.source === 'file' && this.#fileEnded && this.filePosition > this.audio.duration + FILE_TAIL_SECONDS
    );
  }

  /**
   * @param {Source} source
   * @param {(delay: number) => Promise<void>} open opens the audio; delay: minimum that its frames need, s
   */
  async #openSource(source, open) {
    if (!this.serverInfo || this.#opening) return;
    this.#opening = true;
    try {
      await this.finishRecording();
      this.source = null;
      await open(this.serverInfo.lookahead + 2 / this.serverInfo.frame_rate);
      this.source = source;
      this.#fileEnded = false;
      if (source === 'watch') this.#startWatching();
      else this.#startStream();
      this.callbacks.showStatus('');
    } catch (error) {
      this.callbacks.showStatus(/** @type {Error} */ (error).message, true);
      this.idle();
    } finally {
      this.#opening = false;
      this.callbacks.onChange();
    }
  }

  /** Start a new stream on the server for the open source. */
  #startStream() {
    const { clock, sendRate } = this.audio;
    if (!clock) return;
    this.audio.resetDelay();
    const epoch = this.#startTimeline(clock, this.source === 'microphone');
    const seed = this.controlValues().seed ?? null;
    this.connection.sendText({ type: 'start', epoch, rate: sendRate, seed });
  }

  #startWatching() {
    const epoch = this.#startTimeline(this.audio.clock || new WallClock(), false);
    this.connection.sendText({ type: 'watch', epoch });
  }

  /**
   * Send a chunk of audio. While the WebSocket's buffer is full, audio is skipped, and a new stream starts after the gap:
   * otherwise all later frames would be shown at a wrong time.
   * @param {Int16Array} samples
   * @param {number} position of the first sample in the delay line; of a timeline's first chunk, time 0
   */
  #sendAudio(samples, position) {
    const { clock, sendRate } = this.audio;
    if (!this.source || !clock || this.timeline?.clock !== clock || !this.connection.isOpen) return;
    const maxBytes = this.#skippingAudio ? 0 : 2 * MAX_BUFFERED_SECONDS * sendRate;
    if (this.connection.bufferedBytes > maxBytes) {
      this.#skippingAudio = true;
      return;
    }
    if (this.#skippingAudio) this.#startStream();
    if (this.#anchoredEpoch !== this.epoch) {
      this.#anchoredEpoch = this.epoch;
      clock.origin = position;
    }
    this.connection.sendBinary(encodePcm(this.epoch, samples));
  }

  /**
   * The same chunk at the audio device's rate, for plots and recording.
   * @param {Int16Array} samples
   * @param {number} position
   */
  #onInput(samples, position) {
    const { clock, sampleRate } = this.audio;
    if (!clock || this.#anchoredEpoch !== this.epoch || this.source === 'watch') return;
    this.#onAudio(samples, (position - clock.origin) / sampleRate, sampleRate);
  }

  /**
   * @param {Int16Array} samples
   * @param {number} time s
   * @param {number} sampleRate Hz
   */
  #onAudio(samples, time, sampleRate) {
    this.callbacks.onAudio(samples, time, sampleRate);
    this.recorder?.addSamples(samples, time);
  }

  /**
   * Map a watched talker's time to the delay line, at first and where its stamps jump.
   * @param {Frame | AudioMessage} message
   * @param {number} now ms
   * @returns {boolean} whether the message's time has a position
   */
  #anchorWatched(message, now) {
    if (!this.timeline || !this.serverInfo) return false;
    const { clock, newest } = this.timeline;
    const [earliest, latest] = STREAM_JUMP_SECONDS;
    if (newest && message.kind !== AUDIO) {
      const step = message.time - newest.time;
      if (step < earliest || step > latest) {
        this.timeline = this.#makeTimeline(clock, false);
        if ('stop' in clock) clock.stop();
        this.#anchoredEpoch = null;
      }
    }
    if (clock instanceof WallClock || this.#anchoredEpoch === this.epoch) return true;
    if (message.kind === AUDIO && !this.timeline.newest) return false; // the first frame must arrive before audio
    clock.origin = 0;
    const playbackTime = clock.playbackTime(now);
    if (playbackTime === -Infinity) return false;
    const anchor = message.time - 1 / this.serverInfo.frame_rate - 0.1;
    clock.origin = Math.round((playbackTime - anchor) * clock.sampleRate);
    this.#anchoredEpoch = this.epoch;
    return true;
  }

  /** @param {AudioMessage} message */
  #onWatchedAudio({ time, samples }) {
    if (!this.audio.clock) return;
    this.audio.write(Math.round(time * WATCH_SAMPLE_RATE) + this.audio.clock.origin, samples);
    this.#onAudio(samples, time, WATCH_SAMPLE_RATE);
  }

  // ------------------------------------------------------------------------------------------------------- recording

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
    this.callbacks.onRecording(await recorder.stop());
  }
}
