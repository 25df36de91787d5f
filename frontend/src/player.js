// SPDX-License-Identifier: Apache-2.0
// Player: one audio source at a time, the server that generates frames for it, and the timeline on which they are
// shown. The page (main.js) and the custom element (talking_face.js) are built on it.
import { readAudioFile } from './audio_file.js';
import { AudioIO } from './audio_io.js';
import { WallClock } from './clocks.js';
import { Connection } from './connection.js';
import { AUDIO, PARTNER, encodePcm } from './protocol.js';
import { Timeline, isFaceFrame } from './timeline.js';

const SERVER_SAMPLE_RATE = 16000; // Hz, of audio that the server sends
const MAX_BUFFERED_SECONDS = 2; // of audio that is buffered in the WebSocket
const PLAYBACK_AHEAD_SECONDS = 0.02; // of the newest frame
const RESUME_AFTER_INTERRUPT_MS = 400;
const MICROPHONE_DELAY = 0.04; // s, initial delay beyond the look-ahead
const FILE_DELAY = 0.12;
const WATCH_DELAY = 0.15;
const STREAM_JUMP_SECONDS = [-0.5, 3]; // of a watched talker's time that start a new timeline
const FILE_TAIL_SECONDS = 0.7; // after a file's end, until it is stopped
const CLOCK_START_MS = 1000; // in which a sound device starts
const GAZE_INTERVAL_MS = 100; // between two targets of the gaze that are sent

/** @typedef {import('./protocol.js').Frame} Frame */
/** @typedef {import('./protocol.js').AudioMessage} AudioMessage */
/** @typedef {import('./timeline.js').AnyClock} AnyClock */
/** @typedef {'microphone' | 'file' | 'stream' | 'watch' | 'text'} Source */

/**
 * The message `hello`.
 * @typedef {object} ServerInfo
 * @property {number} protocol version of the messages
 * @property {string} version
 * @property {string} model
 * @property {string} device
 * @property {boolean} vertices whether frames carry vertices
 * @property {number} frame_rate frames/s
 * @property {number} lookahead s
 * @property {string[]} names of the weights
 * @property {Record<string, import('./controls_panel.js').ControlSpec>} controls
 * @property {string[]} [gestures] names of the head gestures; none for a vertex model
 * @property {boolean} [say] whether texts are said
 * @property {boolean} watch whether topics can be watched
 * @property {string | null} face name of the face that the server offers, besides the default one
 */

/**
 * Fields of the message `express`.
 * @typedef {{name?: string | null, strength?: number, valence?: number, arousal?: number, decay?: number}} Emotion
 */

/**
 * Callbacks that update the page's elements.
 * @typedef {object} PlayerCallbacks
 * @property {(info: ServerInfo) => void} onHello
 * @property {(message: string, isError?: boolean) => void} showStatus
 * @property {() => void} onChange called when the source or the connection changes
 * @property {(samples: Int16Array, time: number, sampleRate: number) => void} onAudio
 * @property {(frame: Frame) => void} onFrame
 * @property {() => void} onTimelineStart
 */

/**
 * What a player needs of the face.
 * @typedef {object} PlayerView
 * @property {(info: ServerInfo) => Promise<void>} setModel loads the faces
 * @property {() => import('./timeline.js').Pose} copyPose
 * @property {import('./metrics.js').Metrics} metrics
 */

/**
 * @typedef {object} PlayerOptions
 * @property {string} url of the WebSocket
 * @property {string} workletUrl of the audio worklet
 * @property {boolean} [explains] whether to ask the server why it does not accept the connection
 */

/** Why a source is not played that was stopped before it had begun. */
export const STOPPED = new Error('it was stopped');

export class Player {
  /** @type {number | null} */
  #anchoredEpoch = null; // epoch whose time 0 has its position in the delay line
  #skippingAudio = false; // because the network is too slow
  /** @type {AbortController | null} */
  #opening = null; // cancels the source that is being opened
  #stopCount = 0; // calls of `stop` and `interrupt`
  #sourceEnded = false;
  /** @type {Promise<void> | null} */
  #stopping = null;
  #textEpoch = 0; // of the text that is said
  #textEnd = 0; // s on its timeline, of the audio that has arrived
  hasFailed = false; // the text that was said last
  /** @type {number[] | null} */
  #gazeTarget = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #gazeTimer = undefined;
  /** @type {Emotion | null} */
  #emotion = null; // that stays; null: that of the control

  /**
   * @param {PlayerView} view
   * @param {PlayerCallbacks} callbacks
   * @param {PlayerOptions} options
   */
  constructor(view, callbacks, { url, workletUrl, explains = false }) {
    this.view = view;
    this.callbacks = callbacks;
    this.epoch = 0;
    /** @type {Source | null} */
    this.source = null;
    /** @type {string | null} */
    this.watchedSession = null; // name of the shared session that is watched; null: the topics of a talker
    /** @type {string | null} */
    this.sharedAs = null; // name under which others may watch this session
    this.connected = false;
    /** @type {ServerInfo | null} */
    this.serverInfo = null;
    /** @type {() => Record<string, any>} */
    this.controlValues = () => ({});
    /** @type {Timeline | null} */
    this.timeline = null;
    /** @type {'idle' | 'listening' | 'speaking' | 'overlap'} */
    this.dialogueState = 'idle'; // who speaks
    /** @type {AudioIO | null} */
    this.partnerAudio = null; // the microphone that the face listens to
    this.sendDropped = 0; // frames that the server did not send, because this browser was slow
    this.audioSkipped = 0; // frames whose audio the server skipped
    /** @type {{time: number, weights: number[]}[] | null} */
    this.frameLog = null; // set by tests
    this.audio = new AudioIO(workletUrl);
    this.audio.onSend = (samples, position) => this.#sendAudio(samples, position);
    this.audio.onInput = (samples, position) => this.#onInput(samples, position);
    this.audio.onEnded = () => {
      this.#sourceEnded = true;
    };
    this.connection = new Connection(url, {
      onTextMessage: (message) => this.#onTextMessage(message),
      onBinaryMessage: (message) => this.#onBinaryMessage(message),
      onClose: (reason) => {
        this.connected = false;
        callbacks.onChange();
        callbacks.showStatus(reason, true);
      },
      explains,
    });
  }

  /** Close the connection and the audio, for good. */
  async close() {
    clearTimeout(this.#gazeTimer);
    this.connection.close();
    this.connected = false;
    this.source = null;
    await this.stopListening();
    await this.audio.close();
  }

  // ------------------------------------------------------------------------------------------------- from the server

  /** @param {any} message */
  async #onTextMessage(message) {
    if (message.type === 'hello') await this.#onHello(message);
    else if (message.type === 'state') this.sendDropped = message.left_out;
    else if (message.type === 'watching') {
      if (this.source === 'watch' && !this.timeline?.newest) {
        const { session, topic, domain } = message;
        this.callbacks.showStatus(`waiting for ${session ?? `a talker on ${topic}, domain ${domain}`}`);
      }
    } else if (message.type === 'speech') this.#onSpeech(message);
    else if (message.type === 'dialogue_state') {
      this.dialogueState = message.state;
      this.callbacks.onChange();
    } else if (message.text) this.callbacks.showStatus(message.text, true);
  }

  /** @param {ServerInfo} info */
  async #onHello(info) {
    this.serverInfo = info;
    this.connected = true;
    this.callbacks.showStatus('');
    try {
      await this.view.setModel(info);
    } catch (error) {
      this.callbacks.showStatus(/** @type {Error} */ (error).message, true);
    }
    if (this.connection.isClosed) return;
    this.callbacks.onHello(info);
    const values = this.controlValues();
    if (Object.keys(values).length) this.connection.sendText({ type: 'set', ...values });
    if (this.#gazeTarget) this.#sendGaze();
    if (this.#emotion) this.connection.sendText({ type: 'express', ...this.#emotion });
    if (this.sharedAs) this.connection.sendText({ type: 'share', session: this.sharedAs });
    this.dialogueState = 'idle';
    if (this.source === 'watch') this.#startWatching();
    else if (this.source && this.source !== 'text') this.#startStream();
    else this.idle();
  }

  /**
   * Let others watch this session.
   * @param {string | null} name by which they ask for it; null: no more
   */
  share(name) {
    if (name === this.sharedAs) return;
    this.sharedAs = name;
    if (this.connected) this.connection.sendText({ type: 'share', session: name });
  }

  // ---------------------------------------------------------------------------------------------------- conversation

  /**
   * Turn the gaze to a point, and hold it there; of points that follow each other fast the last one counts.
   * @param {number[] | null} point metres from between the eyes: x out of the face, y to its left, z up; null: release
   */
  lookAt(point) {
    this.#gazeTarget = point;
    this.#gazeTimer ??= setTimeout(() => {
      this.#gazeTimer = undefined;
      this.#sendGaze();
    }, GAZE_INTERVAL_MS);
  }

  #sendGaze() {
    this.connection.sendText({ type: 'look_at', point: this.#gazeTarget });
  }

  /**
   * Show an emotion.
   * @param {Emotion} emotion
   */
  express(emotion) {
    if (emotion.decay === undefined) this.#emotion = emotion;
    this.connection.sendText({ type: 'express', ...emotion });
  }

  /**
   * Move the head once.
   * @param {{name: string, amplitude?: number, count?: number}} gesture
   */
  gesture(gesture) {
    this.connection.sendText({ type: 'gesture', ...gesture });
  }

  /**
   * Listen to the visitor at the microphone: the face attends, and does not move its lips.
   * @returns {Promise<Error | null>} why it cannot; null if it does
   */
  async startListening() {
    if (this.source === 'microphone') await this.stop();
    const audio = (this.partnerAudio = new AudioIO(this.audio.workletUrl));
    audio.onSend = (samples) => {
      if (this.connection.bufferedBytes < 2 * MAX_BUFFERED_SECONDS * audio.sendRate) {
        this.connection.sendBinary(encodePcm(0, samples, PARTNER));
      }
    };
    try {
      await audio.openMicrophone(0, true);
      if (this.partnerAudio !== audio) await audio.close(); // it was stopped meanwhile
      return null;
    } catch (error) {
      const reason = /** @type {Error} */ (error);
      await this.stopListening();
      this.callbacks.showStatus(reason.message, true);
      return reason;
    } finally {
      this.callbacks.onChange();
    }
  }

  /** Listen to nobody. */
  async stopListening() {
    const audio = this.partnerAudio;
    this.partnerAudio = null;
    await audio?.close();
    this.callbacks.onChange();
  }

  /** @param {Frame | AudioMessage} message */
  #onBinaryMessage(message) {
    if (message.epoch !== this.epoch || !this.timeline) return;
    const now = performance.now();
    if ((this.source === 'watch' || this.source === 'text') && !this.#anchorServed(message, now)) return;
    if (message.kind === AUDIO) {
      this.#onServedAudio(message);
      return;
    }
    if (this.source === 'watch' && !this.timeline.newest) this.callbacks.showStatus('');
    this.timeline.add(message, now);
    this.#limitPlayback();
    this.audioSkipped = message.dropped;
    this.view.metrics.addModelTime(now, message.modelMs);
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

  /** Pause idle motion while the page is hidden. */
  pauseWhileHidden() {
    if (!this.connected || this.source) return;
    if (document.hidden) this.connection.sendText({ type: 'pause' });
    else this.idle();
  }

  /** Start the microphone: the face speaks what it hears. */
  async startMicrophone() {
    if (this.partnerAudio) await this.stopListening();
    return this.#openSource('microphone', (delay) => this.audio.openMicrophone(delay + MICROPHONE_DELAY));
  }

  /**
   * Play an audio file.
   * @param {Blob} file in any format that the browser reads
   * @param {string} name for messages
   * @param {import('./audio_file.js').OnProgress} [onProgress] called while it is read
   */
  playFile(file, name, onProgress = () => {}) {
    return this.#openSource('file', async (delay, signal) => {
      if (this.audio.graph) {
        await this.audio.close();
        this.idle(); // while the file is read
      }
      await this.audio.playFile(await readAudioFile(file, name, signal, onProgress), delay + FILE_DELAY);
    });
  }

  /**
   * Speak the sound of a stream, such as that of a call.
   * @param {MediaStream} stream
   * @param {boolean} [withSound] whether it is played with the face; else the face is shown as soon as possible
   */
  playStream(stream, withSound = true) {
    const extraDelay = withSound ? FILE_DELAY : MICROPHONE_DELAY;
    return this.#openSource('stream', (delay) => this.audio.playStream(stream, delay + extraDelay, withSound));
  }

  /**
   * Watch a running talker.
   * @param {string | null} [session] name of a shared session; null: the topics of a talker
   * @param {boolean} [withSound] whether its sound is played, where the browser supports that
   */
  startWatching(session = null, withSound = true) {
    return this.#openSource('watch', async () => {
      this.watchedSession = session;
      this.audio.setMuted(false);
      if (withSound && AudioIO.isSupported) await this.audio.openStream(SERVER_SAMPLE_RATE, WATCH_DELAY);
      else await this.audio.close();
    });
  }

  /**
   * Let the server say a text, with its sound in step; a text that is being said is replaced.
   * @param {string} text
   */
  async say(text) {
    if (!this.serverInfo?.say) return new Error('the server says no texts: start it with --tts COMMAND');
    return this.#openSource('text', async () => {
      this.audio.setMuted(false);
      if (!AudioIO.isSupported) return this.audio.close();
      await this.audio.openStream(SERVER_SAMPLE_RATE, WATCH_DELAY);
      const end = performance.now() + CLOCK_START_MS;
      while (this.audio.clock?.playbackTime(performance.now()) === -Infinity && performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }, text);
  }

  /** Whether a source is being opened. */
  get isOpening() {
    return this.#opening !== null;
  }

  /** Stop the source. */
  stop() {
    this.#cancelOpening();
    this.#stopping ??= this.#endSource().finally(() => {
      this.#stopping = null;
    });
    return this.#stopping;
  }

  #cancelOpening() {
    this.#stopCount++;
    this.#opening?.abort(STOPPED);
  }

  async #endSource() {
    await this.beforeSourceEnds();
    await this.audio.close();
    this.idle();
  }

  /** Called before the audio of a source is closed. */
  async beforeSourceEnds() {}

  /** Barge-in: discard queued audio and close the mouth. A file is stopped; the microphone is resumed. */
  async interrupt() {
    if (this.source === 'watch' || !this.serverInfo) return;
    this.#cancelOpening();
    if (this.source && this.source !== 'microphone') {
      this.source = null;
      await this.beforeSourceEnds();
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

  /** Whether a file, a stream or a text has been played to its end. */
  get isFinished() {
    if (!this.#sourceEnded) return false;
    if (this.source === 'text') {
      const playbackTime = this.timeline?.clock.playbackTime(performance.now()) ?? Infinity;
      return this.epoch !== this.#textEpoch || playbackTime > this.#textEnd + FILE_TAIL_SECONDS;
    }
    return this.source === 'stream' || (this.source === 'file' && this.filePosition > this.audio.duration + FILE_TAIL_SECONDS);
  }

  /**
   * @param {Source} source
   * @param {(delay: number, signal: AbortSignal) => Promise<void>} open opens the audio; delay: minimum that its frames
   *   need, s; the signal cancels it with STOPPED as the reason
   * @param {string} [text] to say
   * @returns {Promise<Error | null>} why the source cannot be used; null if it can
   */
  async #openSource(source, open, text = '') {
    if (!this.serverInfo || !this.connected) return new Error('the server is not connected: wait until it is');
    if (this.#opening) return new Error('another source is being opened: wait for its end');
    const opening = (this.#opening = new AbortController());
    this.callbacks.onChange();
    const stopCount = this.#stopCount;
    try {
      await this.beforeSourceEnds();
      this.source = null;
      await open(this.serverInfo.lookahead + 2 / this.serverInfo.frame_rate, opening.signal);
      if (this.connection.isClosed || stopCount !== this.#stopCount) {
        await this.audio.close();
        return STOPPED;
      }
      this.source = source;
      this.#sourceEnded = this.hasFailed = false;
      if (source === 'watch') this.#startWatching();
      else if (source === 'text') this.#startText(text);
      else this.#startStream();
      this.callbacks.showStatus('');
      return null;
    } catch (error) {
      const reason = /** @type {Error} */ (error);
      if (this.connection.isClosed) {
        await this.audio.close();
      } else {
        if (reason !== STOPPED) this.callbacks.showStatus(reason.message, true);
        this.idle();
      }
      return reason;
    } finally {
      this.#opening = null;
      this.callbacks.onChange();
    }
  }

  /** Start a new stream on the server for the open source. */
  #startStream() {
    const { clock, sendRate } = this.audio;
    if (!clock) return;
    this.audio.resetDelay();
    const epoch = this.#startTimeline(clock, this.source !== 'file' && this.audio.muted);
    const seed = this.controlValues().seed ?? null;
    this.connection.sendText({ type: 'start', epoch, rate: sendRate, seed });
  }

  #startWatching() {
    const epoch = this.#startTimeline(this.audio.clock || new WallClock(), false);
    this.connection.sendText({ type: 'watch', epoch, session: this.watchedSession });
  }

  /**
   * Ask for a text. The face is idle until the server has its first audio.
   * @param {string} text
   */
  #startText(text) {
    this.connection.sendText({ type: 'rest', epoch: this.#startTimeline(new WallClock(), true) });
    this.#textEpoch = (this.epoch + 1) % 256;
    this.#textEnd = 0;
    this.connection.sendText({ type: 'say', epoch: this.#textEpoch, text });
  }

  /** @param {{epoch: number, state: 'speaking' | 'complete' | 'failed'}} message */
  #onSpeech({ epoch, state }) {
    if (this.source !== 'text' || epoch !== this.#textEpoch) return;
    if (state === 'speaking') this.#startTimeline(this.audio.clock ?? new WallClock(), false);
    else this.#sourceEnded = true;
    this.hasFailed = state === 'failed';
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
    this.callbacks.onAudio(samples, (position - clock.origin) / sampleRate, sampleRate);
  }

  /**
   * Map the time of a watched talker or of a text to the delay line, at first and where its stamps jump.
   * @param {Frame | AudioMessage} message
   * @param {number} now ms
   * @returns {boolean} whether the message's time has a position
   */
  #anchorServed(message, now) {
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
    // a watched talker's first frame must arrive before audio; a text's audio begins with its timeline
    if (this.source === 'watch' && message.kind === AUDIO && !this.timeline.newest) return false;
    clock.origin = 0;
    const playbackTime = clock.playbackTime(now);
    if (playbackTime === -Infinity) return false;
    const anchor = message.time - 1 / this.serverInfo.frame_rate - 0.1;
    clock.origin = Math.round((playbackTime - anchor) * clock.sampleRate);
    this.#anchoredEpoch = this.epoch;
    return true;
  }

  /** @param {AudioMessage} message */
  #onServedAudio({ time, samples }) {
    if (this.source === 'text') this.#textEnd = time + samples.length / SERVER_SAMPLE_RATE;
    if (!this.audio.clock) return;
    this.audio.write(Math.round(time * SERVER_SAMPLE_RATE) + this.audio.clock.origin, samples);
    this.callbacks.onAudio(samples, time, SERVER_SAMPLE_RATE);
  }
}
