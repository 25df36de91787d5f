// SPDX-License-Identifier: Apache-2.0
// Custom element <talking-face src="ws://…" face="avatar.glb">: the page's player and face for other pages. What it
// offers is described in talking-face.d.ts, which its class is checked against.
import workletSource from 'worklet:delay-line';
import { FaceView } from './face_view.js';
import { quantile } from './metrics.js';
import { Player, STOPPED } from './player.js';
import { PROTOCOL_VERSION } from './protocol.js';
import { isFaceFrame } from './timeline.js';

const TAG = 'talking-face';
const POLL_MS = 100;
const SOCKET_PATH = '/socket';
const SESSION_NAME = /^[A-Za-z0-9._-]{1,64}$/;
const STYLE = `
:host { display: block; position: relative; overflow: hidden; aspect-ratio: 4 / 3; min-width: 2rem }
:host([hidden]) { display: none }
.stage { position: absolute; inset: 0 }
canvas { display: block; width: 100%; height: 100%; outline: none }
.message {
  position: absolute; inset: auto 0 0 0; margin: 0; padding: 0.5em 0.8em; font: 0.9rem/1.4 system-ui, sans-serif;
  background: rgb(20 22 26 / 85%); color: #f2f4f8
}
.message.bad { background: rgb(120 24 24 / 92%) }
.message:empty { display: none }
button {
  position: absolute; inset: 0.5rem 0.5rem auto auto; padding: 0.3em 0.7em; border: 0; border-radius: 1em;
  font: 0.85rem system-ui, sans-serif; background: rgb(20 22 26 / 70%); color: #f2f4f8; cursor: pointer
}
:host(:not([controls])) button { display: none }
`;

/** @typedef {import('../talking-face.d.ts').TalkingFaceState} TalkingFaceState */
/** @typedef {import('../talking-face.d.ts').SpeechSource} SpeechSource */
/** @typedef {import('./player.js').ServerInfo} ServerInfo */

/** Where there is no document, such as on a server that renders pages, the module can be imported all the same. */
const Base = globalThis.HTMLElement ?? /** @type {typeof HTMLElement} */ (/** @type {unknown} */ (class {}));

/** @type {string | null} */
let workletUrl = null;

class TalkingFace extends Base {
  static observedAttributes = [
    ...['src', 'token', 'face', 'muted', 'listen', 'share', 'background', 'detail', 'controls', 'worklet'],
  ];

  /** @type {Player | null} */
  #player = null;
  /** @type {FaceView | null} */
  #view = null;
  /** @type {HTMLCanvasElement | null} */
  #canvas = null;
  /** @type {TalkingFaceState} */
  #state = 'closed';
  #isReady = false;
  #isStartPending = false;
  #animation = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer = undefined;
  #errorMessage = '';
  #shownFrames = 0;
  #receivedFrames = 0;
  #lateFrames = 0; // of the timelines before the present one
  /** @type {import('./timeline.js').Timeline | null} */
  #timeline = null;
  /** @type {Record<string, unknown>} */
  #controlValues = {};
  #speechNumber = 0; // of the last call of `speak` or `stop`
  /** @type {Promise<unknown>} */
  #opened = Promise.resolve(); // once the last sound has been opened
  /** @type {((isComplete: boolean) => void) | null} */
  #endSpeech = null;
  /** @type {import('./protocol.js').Frame | null} */
  #lastFrame = null;
  /** @type {import('./timeline.js').Timeline | null} */
  #frameTimeline = null; // of the last frame
  /** @type {AbortController} */
  #faceLoad = new AbortController();
  #onVisibility = () => this.#player?.pauseWhileHidden();
  #onGesture = () => this.#listenWithSound();

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet(); // a content security policy that forbids inline style allows this
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const stage = document.createElement('div');
    stage.className = 'stage';
    stage.part.add('stage');
    const message = document.createElement('p');
    message.className = 'message';
    message.setAttribute('role', 'status');
    message.part.add('message');
    const button = document.createElement('button');
    button.type = 'button';
    button.part.add('sound');
    button.addEventListener('click', () => {
      this.muted = !this.muted;
    });
    root.append(stage, message, button);
  }

  // ------------------------------------------------------------------------------------- attributes as properties

  get src() {
    return this.getAttribute('src') ?? '';
  }
  set src(value) {
    this.setAttribute('src', value);
  }
  get token() {
    return this.getAttribute('token');
  }
  set token(value) {
    this.#reflect('token', value);
  }
  get face() {
    return this.getAttribute('face');
  }
  set face(value) {
    this.#reflect('face', value);
  }
  get listen() {
    return this.getAttribute('listen');
  }
  set listen(value) {
    this.#reflect('listen', value);
  }
  get share() {
    return this.getAttribute('share');
  }
  set share(value) {
    this.#reflect('share', value);
  }
  get background() {
    return this.getAttribute('background');
  }
  set background(value) {
    this.#reflect('background', value);
  }
  get detail() {
    return this.getAttribute('detail') ?? 'auto';
  }
  set detail(value) {
    this.setAttribute('detail', value);
  }
  get muted() {
    return this.hasAttribute('muted');
  }
  set muted(value) {
    this.toggleAttribute('muted', value);
  }
  get controls() {
    return this.hasAttribute('controls');
  }
  set controls(value) {
    this.toggleAttribute('controls', value);
  }

  /**
   * @param {string} name
   * @param {string | null} value
   */
  #reflect(name, value) {
    if (value === null || value === undefined) this.removeAttribute(name);
    else this.setAttribute(name, value);
  }

  // ------------------------------------------------------------------------------------------------------- state

  get state() {
    return this.#state;
  }

  get names() {
    return this.#player?.serverInfo?.names ?? [];
  }

  get stats() {
    const { metrics } = this.#view ?? {};
    const player = this.#player;
    return {
      received: this.#receivedFrames,
      shown: this.#shownFrames,
      late: this.#lateFrames + (this.#timeline?.lateCount ?? 0),
      unsent: player?.sendDropped ?? 0,
      skipped: player?.audioSkipped ?? 0,
      avOffsetMs: metrics ? quantile(metrics.avOffset, 0.5) : NaN,
      latencyMs: metrics ? quantile(metrics.latency, 0.5) : NaN,
      imagesPerSecond: metrics?.imageRate ?? 0,
    };
  }

  // ----------------------------------------------------------------------------------------------------- methods

  /**
   * Speak a sound, with its sound in step.
   * @param {SpeechSource} audio
   * @param {{silent?: boolean}} [options] silent: a stream's sound is not played
   * @returns {Promise<boolean>} whether it was spoken to its end
   */
  async speak(audio, { silent = false } = {}) {
    const stream = typeof MediaStream === 'function' && audio instanceof MediaStream ? audio : null;
    if (!stream && !(audio instanceof Blob) && !(audio instanceof ArrayBuffer)) {
      throw new TypeError('speak takes an ArrayBuffer or a File of a sound file, or a MediaStream');
    }
    return this.#play(async (player) => {
      if (stream) return player.playStream(stream, !silent);
      const file = /** @type {ArrayBuffer | File} */ (audio);
      const name = (file instanceof Blob && file.name?.slice(0, 60)) || 'the sound';
      return player.playFile(file instanceof Blob ? file : new Blob([file]), name);
    });
  }

  /**
   * Let the server say a text, with its sound in step.
   * @param {string} text
   * @returns {Promise<boolean>} whether it was said to its end
   */
  say(text) {
    return this.#play((player) => player.say(text));
  }

  /**
   * Play a sound in place of the one before.
   * @param {(player: Player) => Promise<Error | null>} open
   * @returns {Promise<boolean>} whether it was played to its end
   */
  async #play(open) {
    const player = await this.#whenReady();
    const number = ++this.#speechNumber;
    this.#finishSpeech(false);
    const isCurrent = () => number === this.#speechNumber;
    const opened = this.#opened.then(() => (isCurrent() ? open(player) : STOPPED));
    this.#opened = opened.catch(() => {});
    const error = await opened;
    if (error === STOPPED || !isCurrent()) return false;
    if (error) throw error;
    this.#finishSpeech(false);
    return new Promise((resolve) => {
      this.#endSpeech = resolve;
    });
  }

  /** Stop the sound and close the mouth; a face that listens goes on with that. */
  async stop() {
    const player = this.#player;
    this.#speechNumber++;
    if (!player || (!player.isOpening && (!player.source || player.source === 'watch'))) return;
    await player.interrupt();
    this.#finishSpeech(false);
    this.#listen();
  }

  /**
   * Change controls of the model, such as {mouth_expressiveness: 1.2}.
   * @param {Record<string, unknown>} values
   */
  set(values) {
    Object.assign(this.#controlValues, values);
    this.#player?.connection.sendText({ type: 'set', ...values });
  }

  /**
   * Turn the gaze to a point.
   * @param {[number, number, number] | null} point
   */
  lookAt(point) {
    this.#player?.lookAt(point);
  }

  /**
   * Show an emotion.
   * @param {string | null} name
   * @param {Omit<import('./player.js').Emotion, 'name'>} [options]
   */
  express(name, options = {}) {
    this.#player?.express({ name, ...options });
  }

  /**
   * Move the head once.
   * @param {string} name
   * @param {{amplitude?: number, count?: number}} [options]
   */
  gesture(name, options = {}) {
    this.#player?.gesture({ name, ...options });
  }

  // --------------------------------------------------------------------------------------------------- life cycle

  connectedCallback() {
    document.addEventListener('visibilitychange', this.#onVisibility);
    this.#showControls();
    this.#scheduleStart();
  }

  disconnectedCallback() {
    document.removeEventListener('visibilitychange', this.#onVisibility);
    this.#tearDown();
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(name, before, now) {
    if (before === now || !this.isConnected) return;
    if (name === 'src' || name === 'token' || name === 'worklet') this.#scheduleStart();
    else if (name === 'face') this.#showFace();
    else if (name === 'background') this.#view?.setBackground(now);
    else if (name === 'detail') this.#view?.detail.choose(this.detail);
    else if (name === 'listen') this.#listen();
    else if (name === 'share') this.#shareSession();
    else this.#showControls();
  }

  /** Start once all attributes of the moment are set. */
  #scheduleStart() {
    if (this.#isStartPending) return;
    this.#isStartPending = true;
    queueMicrotask(() => {
      this.#isStartPending = false;
      if (!this.isConnected) return;
      this.#tearDown();
      try {
        this.#start();
      } catch (error) {
        this.#tearDown();
        this.#fail(/** @type {Error} */ (error));
      }
    });
  }

  #start() {
    const { socket, toUrl } = parseAddress(this.src, this.token);
    const canvas = document.createElement('canvas');
    this.#canvas = canvas;
    this.shadowRoot?.querySelector('.stage')?.replaceChildren(canvas);
    const view = this.#createView(canvas, toUrl);
    const url = this.getAttribute('worklet') ?? (workletUrl ??= makeWorkletUrl());
    this.#setState('connecting');
    this.#player = new Player(
      { setModel: (info) => this.#setModel(view, info), copyPose: () => view.copyPose(), metrics: view.metrics },
      {
        onHello: (info) => this.#onHello(info),
        showStatus: (message, isError) => this.#showStatus(message, isError),
        onChange: () => this.#update(),
        onAudio: () => {},
        onFrame: () => {
          this.#receivedFrames++;
        },
        onTimelineStart: () => {
          this.#lateFrames += this.#timeline?.lateCount ?? 0;
          this.#timeline = this.#player?.timeline ?? null;
        },
      },
      { url: socket, workletUrl: url, explains: true },
    );
    this.#player.controlValues = () => this.#controlValues;
    this.#shareSession();
    this.#showControls();
    this.#animation = requestAnimationFrame((now) => this.#draw(now));
    this.#timer = setInterval(() => {
      if (this.#player?.isFinished) this.#finish();
    }, POLL_MS);
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(path: string) => string} toUrl
   */
  #createView(canvas, toUrl) {
    try {
      this.#view = new FaceView(canvas, this.detail, toUrl);
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      throw /webgl/i.test(message) ? new Error('this browser has no WebGL: the face cannot be shown') : error;
    }
    this.#view.setBackground(this.background);
    return this.#view;
  }

  #tearDown() {
    cancelAnimationFrame(this.#animation);
    clearInterval(this.#timer);
    this.#awaitGesture(false);
    this.#faceLoad.abort();
    this.#speechNumber++;
    this.#finishSpeech(false);
    this.#player?.close();
    this.#view?.dispose();
    this.#canvas?.remove();
    this.#player = this.#view = this.#canvas = this.#timeline = this.#lastFrame = this.#frameTimeline = null;
    this.#isReady = false;
    this.#errorMessage = '';
    this.#receivedFrames = this.#shownFrames = this.#lateFrames = 0;
    this.#setState('closed');
  }

  /**
   * Load the face, before the first frame is asked for.
   * @param {FaceView} view
   * @param {ServerInfo} info
   */
  async #setModel(view, info) {
    if (this.face !== null) {
      view.setNames(info.names);
      await this.#showFace();
      return;
    }
    await view.setModel(info);
    if (!info.vertices && !info.face && !view.faces.default) await view.load();
  }

  /** Show the face that the attribute names. */
  async #showFace() {
    const view = this.#view;
    if (!view || this.face === null || !view.names.length) return;
    this.#faceLoad.abort();
    const load = (this.#faceLoad = new AbortController());
    const url = new URL(this.face, document.baseURI);
    const name = url.pathname.split('/').pop() || 'the face';
    try {
      const response = await fetch(url, { signal: load.signal }).catch((error) => {
        if (load.signal.aborted) throw error;
        throw new Error(`${name} cannot be fetched from ${url.origin}: check its address, and that it allows this page`);
      });
      if (!response.ok) throw new Error(`${name} cannot be fetched (status ${response.status}): check the attribute face`);
      const bytes = await response.arrayBuffer();
      if (!load.signal.aborted && view === this.#view) await view.openAvatar(bytes, name);
    } catch (error) {
      if (!load.signal.aborted) this.#fail(/** @type {Error} */ (error));
    }
  }

  /** @param {ServerInfo} info */
  #onHello(info) {
    if (info.protocol !== undefined && info.protocol !== PROTOCOL_VERSION) {
      this.#fail(new Error(`the server speaks version ${info.protocol} of the protocol, not ${PROTOCOL_VERSION}`));
    }
    const isFirst = !this.#isReady;
    this.#isReady = true;
    queueMicrotask(() => {
      // once the player has its stream
      this.#update();
      this.#shareSession();
      if (isFirst) {
        const { model, version, frame_rate: frameRate, names, gestures = [], controls } = info;
        const emotions = controls.emotion?.kind === 'choice' ? controls.emotion.choices : [];
        const detail = { model, version, frameRate, names, emotions, gestures };
        this.dispatchEvent(new CustomEvent('ready', { detail }));
        this.#listen();
      }
    });
  }

  /** @returns {Promise<Player>} */
  async #whenReady() {
    if (!this.isConnected) throw new Error('this <talking-face> is in no document: append it to one');
    while (!this.#isReady || !this.#player?.connected) {
      if (this.#errorMessage && !this.#player?.connected) throw new Error(this.#errorMessage);
      if (this.#state === 'closed' && !this.#isStartPending) throw new Error(this.#errorMessage || 'not connected');
      await new Promise((resolve) => {
        for (const type of ['state', 'ready', 'error']) this.addEventListener(type, resolve, { once: true });
      });
    }
    return this.#player;
  }

  // -------------------------------------------------------------------------------------------------- listening

  /** Watch what the attribute names, or nothing. */
  #listen() {
    const player = this.#player;
    if (!player?.connected || !this.#isReady) return;
    if (this.listen === null) {
      this.#awaitGesture(false);
      if (player.source === 'watch') player.stop();
      return;
    }
    if (player.source && player.source !== 'watch') return; // after the speech
    if (this.listen !== '' && !SESSION_NAME.test(this.listen)) {
      this.#fail(new Error('the attribute listen is no name of a session: give letters, digits, points and hyphens'));
      return;
    }
    const withSound = navigator.userActivation?.hasBeenActive ?? true;
    this.#awaitGesture(!withSound);
    player.startWatching(this.listen || null, withSound);
  }

  /** @param {boolean} isAwaited whether the sound waits for the user's first gesture, without which browsers give none */
  #awaitGesture(isAwaited) {
    for (const type of ['pointerup', 'keyup']) {
      document.removeEventListener(type, this.#onGesture);
      if (isAwaited) document.addEventListener(type, this.#onGesture);
    }
  }

  #listenWithSound() {
    this.#awaitGesture(false);
    if (this.#player?.source === 'watch') this.#listen();
  }

  #shareSession() {
    if (this.share !== null && !SESSION_NAME.test(this.share)) {
      this.#fail(new Error('the attribute share is no name of a session: give letters, digits, points and hyphens'));
      return;
    }
    this.#player?.share(this.share);
  }

  // ----------------------------------------------------------------------------------------------------- display

  /** @param {number} now time of the animation frame, ms */
  #draw(now) {
    this.#animation = requestAnimationFrame((next) => this.#draw(next));
    const view = this.#view;
    const player = this.#player;
    if (!view || !player) return;
    const { timeline, audio } = player;
    view.draw(now, timeline, timeline !== null && timeline.clock === audio.clock);
    const frame = view.completedFrame;
    // where the sound waits, the clock may step back by a frame
    const isOlder = timeline === this.#frameTimeline && this.#lastFrame && frame && frame.time <= this.#lastFrame.time;
    if (!frame || frame === this.#lastFrame || isOlder) return;
    this.#lastFrame = frame;
    this.#frameTimeline = timeline;
    this.#shownFrames++;
    const { index, time, speaking, idle } = frame;
    const pose = isFaceFrame(frame)
      ? { weights: frame.weights, head: frame.head }
      : { weights: null, head: null };
    const playbackTime = timeline?.clock.playbackTime(performance.now()) ?? NaN;
    this.dispatchEvent(new CustomEvent('frame', { detail: { index, time, playbackTime, speaking, idle, ...pose } }));
  }

  async #finish() {
    const player = this.#player;
    const isComplete = !player?.hasFailed;
    await player?.stop();
    this.#finishSpeech(isComplete);
    this.#listen();
  }

  /** @param {boolean} isComplete */
  #finishSpeech(isComplete) {
    const end = this.#endSpeech;
    this.#endSpeech = null;
    end?.(isComplete);
  }

  #update() {
    const player = this.#player;
    if (!player) return;
    if (!player.connected || !this.#isReady) this.#setState('connecting');
    else if (player.source === 'watch') this.#setState('listening');
    else this.#setState(player.source ? 'speaking' : 'idle');
  }

  /** @param {TalkingFaceState} state */
  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    if (state !== 'closed' && state !== 'connecting') this.#errorMessage = '';
    this.dispatchEvent(new CustomEvent('state', { detail: { state } }));
  }

  #showControls() {
    this.#player?.audio.setAudible(!this.muted);
    const button = this.shadowRoot?.querySelector('button');
    if (button) button.textContent = this.muted ? 'Sound' : 'Mute';
    const canvas = this.#canvas;
    if (!canvas || !this.#view) return;
    this.#view.scene.controls.enabled = this.controls;
    canvas.style.touchAction = this.controls ? 'none' : 'auto';
    canvas.tabIndex = this.controls ? 0 : -1;
  }

  /**
   * @param {string} message "" for none
   * @param {boolean} [isError]
   */
  #showStatus(message, isError = false) {
    const text = this.shadowRoot?.querySelector('.message');
    if (!text) return;
    text.textContent = message;
    text.classList.toggle('bad', isError);
    if (!isError || message === this.#errorMessage) return;
    this.#errorMessage = message;
    this.dispatchEvent(new CustomEvent('error', { detail: { message } }));
  }

  /** @param {Error} error */
  #fail(error) {
    this.#showStatus(error.message, true);
  }
}

/**
 * The WebSocket and the files of a server.
 * @param {string} src
 * @param {string | null} token
 * @throws {Error} if it is no address of one
 */
function parseAddress(src, token) {
  if (!src) throw new Error('<talking-face> needs the attribute src, such as ws://localhost:8080');
  let socket;
  try {
    socket = new URL(src, document.baseURI);
  } catch {
    socket = null;
  }
  const scheme = socket?.protocol.replace(/^http/, 'ws');
  if (!socket || (scheme !== 'ws:' && scheme !== 'wss:')) {
    throw new Error(`${src.slice(0, 100)} is no address of a server: write one such as ws://localhost:8080`);
  }
  socket.protocol = scheme;
  if (location.protocol === 'https:' && scheme === 'ws:' && !/^(localhost|127\.|\[::1\])/.test(socket.hostname)) {
    throw new Error('a page over https reaches a server over wss:// only: serve it with a certificate');
  }
  if (socket.pathname === '/') socket.pathname = SOCKET_PATH;
  socket.hash = '';
  socket.searchParams.set('version', String(PROTOCOL_VERSION));
  if (token) socket.searchParams.set('token', token);
  const base = socket.href.replace(/^ws/, 'http').replace(/\/[^/]*$/, ''); // also below the path of a proxy
  const query = socket.searchParams.get('token');
  /** @param {string} path of a file of the server */
  const toUrl = (path) => base + path + (query ? `?token=${encodeURIComponent(query)}` : '');
  return { socket: socket.href, toUrl };
}

/** The audio worklet as a URL of this page. */
const makeWorkletUrl = () => URL.createObjectURL(new Blob([workletSource], { type: 'text/javascript' }));

export const TalkingFaceElement =
  /** @satisfies {typeof import('../talking-face.d.ts').TalkingFaceElement} */ (TalkingFace);

if (globalThis.customElements && !customElements.get(TAG)) customElements.define(TAG, TalkingFace);
