// SPDX-License-Identifier: Apache-2.0
// Audio input and output: a microphone, a file or a watched talker's audio goes into the worklet's delay line, and from
// there, delayed by what the frames need, to the loudspeaker and to a recording.
import { AudioOutputClock } from './clocks.js';

const MODEL_SAMPLE_RATE = 16000; // Hz
const AUDIBLE_SLEW = 0.004; // fraction by which audible sound may be played faster or slower
const MUTED_SLEW = 0.05;
const FILE_START_SECONDS = 0.06; // between the request and the first sample of a file
const MUTE_SECONDS = 0.01; // time constant
const BLOCK = 128; // samples of a render quantum
const RESUME_MS = 3000; // in which a browser that allows sound starts it

/** @typedef {import('./worklet_messages.js').WorkletReport} WorkletReport */
/** @typedef {import('./worklet_messages.js').ResampledChunk} ResampledChunk */

/**
 * The audio graph of one source.
 * @typedef {object} AudioGraph
 * @property {AudioContext} context
 * @property {AudioWorkletNode} delayLine
 * @property {GainNode} gain
 * @property {MediaStreamAudioDestinationNode} recording
 */

export class AudioIO {
  /** @param {string} workletUrl */
  constructor(workletUrl) {
    this.workletUrl = workletUrl;
    /** @type {(samples: Int16Array, position: number) => void} */
    this.onSend = () => {}; // a chunk for the server; position of its first sample in the delay line
    /** @type {(samples: Int16Array, position: number) => void} */
    this.onInput = () => {}; // the same chunk at the context's sample rate
    /** @type {(samples: Int16Array, audibleAt: number) => void} */
    this.onPlayed = () => {}; // a chunk of what is played, while it is recorded; ms at which its first sample is audible
    this.onEnded = () => {}; // the file has been read to its end
    this.muted = true;
    this.audible = true; // unless the user wants no sound of any source
    this.duration = 0; // of the file, s
    this.initialDelay = 0; // s
    this.sendRate = 0; // Hz of `onSend`
    /** @type {AudioGraph | null} */
    this.graph = null;
    /** @type {AudioOutputClock | null} */
    this.clock = null;
    /** @type {MediaStream | null} */
    this.microphone = null;
    /** @type {(() => void) | null} */
    this.removeTrackListeners = null; // to the end of a stream that is played
    /** @type {AudioBufferSourceNode | null} */
    this.fileSource = null;
  }

  /** Whether the browser supports audio on this page. */
  static get isSupported() {
    return (
      typeof AudioContext === 'function' && 'audioWorklet' in AudioContext.prototype && window.isSecureContext
    );
  }

  /** Of the audio context, Hz; 48000 without one. */
  get sampleRate() {
    return this.graph ? this.graph.context.sampleRate : 48000;
  }

  /** Stream of the played audio, for a recording. */
  get outputStream() {
    return this.graph?.recording.stream;
  }

  /**
   * Open the microphone.
   * @param {number} delay initial delay of the delay line, s
   * @param {boolean} [cancelsEcho] whether the browser takes out what its loudspeaker plays
   */
  async openMicrophone(delay, cancelsEcho = false) {
    this.setMuted(true);
    const graph = await this.#open();
    try {
      this.microphone = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: cancelsEcho, noiseSuppression: false, autoGainControl: false },
      });
    } catch (error) {
      await this.close();
      const { name, message } = /** @type {DOMException} */ (error);
      /** @type {Record<string, string>} */
      const reasons = {
        NotAllowedError: 'access was denied: allow it beside the address bar',
        NotFoundError: 'no microphone was found: connect one',
      };
      throw new Error(`the microphone cannot be used (${reasons[name] || message})`);
    }
    const source = new MediaStreamAudioSourceNode(graph.context, { mediaStream: this.microphone });
    source.connect(graph.delayLine);
    this.#begin(graph, { external: false, delay, sendRate: MODEL_SAMPLE_RATE }); // the server's resampler delays more
  }

  /**
   * Play a file; it starts at once.
   * @param {AudioBuffer} buffer
   * @param {number} delay initial delay of the delay line, s
   */
  async playFile(buffer, delay) {
    this.setMuted(false);
    const graph = await this.#open(buffer.sampleRate);
    this.duration = buffer.duration;
    this.fileSource = new AudioBufferSourceNode(graph.context, { buffer });
    this.fileSource.connect(graph.delayLine);
    this.fileSource.onended = () => this.onEnded();
    const { currentTime, sampleRate } = graph.context;
    const startFrame = BLOCK * Math.ceil(((currentTime + FILE_START_SECONDS) * sampleRate) / BLOCK);
    this.#begin(graph, { external: false, delay, startFrame }); // position 0 is the file's first sample
    this.fileSource.start(startFrame / sampleRate);
  }

  /**
   * Play a stream of the caller's, which stays open when it is no more played.
   * @param {MediaStream} stream
   * @param {number} delay initial delay of the delay line, s
   * @param {boolean} withSound
   */
  async playStream(stream, delay, withSound) {
    const tracks = stream.getAudioTracks();
    if (!tracks.some((track) => track.readyState === 'live')) {
      throw new Error('this stream has no audio track that is live: give one with sound');
    }
    this.setMuted(!withSound);
    const graph = await this.#open();
    const source = new MediaStreamAudioSourceNode(graph.context, { mediaStream: stream });
    source.connect(graph.delayLine);
    this.duration = Infinity;
    const onTrackEnded = () => {
      if (!tracks.some((track) => track.readyState === 'live')) this.onEnded();
    };
    for (const track of tracks) track.addEventListener('ended', onTrackEnded);
    this.removeTrackListeners = () => {
      for (const track of tracks) track.removeEventListener('ended', onTrackEnded);
    };
    this.#begin(graph, { external: false, delay, sendRate: MODEL_SAMPLE_RATE });
  }

  /**
   * Open a line that the page writes itself: see `write`.
   * @param {number} sampleRate Hz
   * @param {number} delay initial delay of the delay line, s
   */
  async openStream(sampleRate, delay) {
    this.#begin(await this.#open(sampleRate), { external: true, delay });
  }

  /**
   * Write samples at a position of the delay line.
   * @param {number} position
   * @param {Int16Array} samples
   */
  write(position, samples) {
    this.#post({ command: 'write', position, samples });
  }

  /**
   * Hold playback at a position of the delay line.
   * @param {number | null} position null: no limit
   */
  setLimit(position) {
    this.#post({ command: 'limit', position });
  }

  /** @param {boolean} enabled whether `onPlayed` is called */
  setRecording(enabled) {
    this.#post({ command: 'record', enabled });
  }

  /** Reduce the delay to its initial value, if it is much longer, because a new stream begins on the same audio source. */
  resetDelay() {
    if (!this.clock) return;
    const samples = Math.round(this.initialDelay * this.sampleRate) - this.clock.delay;
    if (samples > -0.5 * this.sampleRate) return;
    this.clock.delay += samples;
    this.#post({ command: 'delay', samples, slew: 0, hold: false });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.muted = muted;
    this.#applyGain();
  }

  /**
   * Play the sound of any source, or not. The clock goes on, unlike that of `setMuted`, without adapting faster.
   * @param {boolean} audible
   */
  setAudible(audible) {
    this.audible = audible;
    this.#applyGain();
  }

  #applyGain() {
    if (!this.graph) return;
    const { gain, context } = this.graph;
    gain.gain.setTargetAtTime(this.muted || !this.audible ? 0 : 1, context.currentTime, MUTE_SECONDS);
  }

  /** Close the source and the audio context. */
  async close() {
    this.clock = null;
    for (const track of this.microphone?.getTracks() || []) track.stop();
    this.microphone = null;
    this.removeTrackListeners?.();
    this.removeTrackListeners = null;
    if (this.fileSource) this.fileSource.onended = null;
    this.fileSource = null;
    const { graph } = this;
    this.graph = null;
    if (!graph) return;
    graph.delayLine.port.onmessage = null;
    graph.delayLine.port.postMessage({ command: 'stop' });
    if (graph.context.state !== 'closed') await graph.context.close();
  }

  /**
   * @param {number} [sampleRate] Hz; default: of the device
   * @returns {Promise<AudioGraph>}
   */
  async #open(sampleRate) {
    await this.close();
    if (!AudioIO.isSupported) {
      throw new Error(
        'the browser supports audio only over https or from localhost: see docs/web.md for both',
      );
    }
    const context = new AudioContext({ latencyHint: 'interactive', ...(sampleRate ? { sampleRate } : {}) });
    try {
      await context.audioWorklet.addModule(this.workletUrl);
      if (context.state === 'suspended') await resume(context);
    } catch (error) {
      await context.close();
      throw error;
    }
    const delayLine = new AudioWorkletNode(context, 'delay-line', {
      numberOfInputs: 1,
      numberOfOutputs: 1,
      outputChannelCount: [1],
    });
    const gain = new GainNode(context, { gain: this.muted || !this.audible ? 0 : 1 });
    const recording = new MediaStreamAudioDestinationNode(context);
    delayLine.connect(gain).connect(context.destination);
    delayLine.connect(recording);
    delayLine.port.onmessage = ({ data }) => this.#onMessage(data);
    this.graph = { context, delayLine, gain, recording };
    return this.graph;
  }

  /**
   * @param {AudioGraph} graph
   * @param {{external: boolean, delay: number, startFrame?: number, sendRate?: number}} options delay in s; otherwise
   *   as of the worklet's BeginCommand
   */
  #begin(graph, options) {
    this.sendRate = options.sendRate ?? graph.context.sampleRate;
    this.initialDelay = options.delay;
    this.clock = new AudioOutputClock(graph.context, (seconds, gradual) => this.#delayBy(seconds, gradual));
    const delay = Math.round(options.delay * graph.context.sampleRate);
    this.#post({ command: 'begin', ...options, delay });
  }

  /** @param {import('./worklet_messages.js').WorkletCommand} command */
  #post(command) {
    this.graph?.delayLine.port.postMessage(command);
  }

  /**
   * @param {number} seconds
   * @param {boolean} gradual
   */
  #delayBy(seconds, gradual) {
    const samples = Math.round(seconds * this.sampleRate);
    if (this.muted) {
      if (!gradual && this.clock) this.clock.delay += samples;
      this.#post({ command: 'delay', samples, slew: gradual ? MUTED_SLEW : 0, hold: false });
    } else {
      this.#post({ command: 'delay', samples, slew: gradual ? AUDIBLE_SLEW : 0, hold: !gradual && samples > 0 });
    }
  }

  /** @param {WorkletReport | ResampledChunk} message */
  #onMessage(message) {
    if (!this.clock) return;
    if (message.kind === 'resampled') {
      this.onSend(message.samples, (message.position * this.sampleRate) / this.sendRate);
      return;
    }
    this.clock.onReport(message, performance.now());
    if (message.played) this.onPlayed(message.played, this.clock.audibleAt(message.frame));
    if (!message.samples) return;
    if (this.sendRate === this.sampleRate) this.onSend(message.samples, message.position);
    this.onInput(message.samples, message.position);
  }
}

/**
 * Start an audio context. Without a gesture of the user its `resume` waits for one.
 * @param {AudioContext} context
 */
async function resume(context) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const timeout = new Promise((_, reject) => {
    const error = new Error('the browser plays sound only after a click or a key press on this page: begin with one');
    timer = setTimeout(() => reject(error), RESUME_MS);
  });
  try {
    await Promise.race([context.resume(), timeout]);
  } finally {
    clearTimeout(timer);
  }
}
