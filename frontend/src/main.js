// SPDX-License-Identifier: Apache-2.0
// Entry point: connects the page's elements with the player. `?detail=high`, medium, low or lowest in the address fixes
// the level of detail.
import { ControlsPanel } from './controls_panel.js';
import { ConversationPanel } from './conversation_panel.js';
import { button, canvas, details, element, input, progress, select } from './elements.js';
import { FaceChoice } from './face_choice.js';
import { FaceView } from './face_view.js';
import { LevelMeter } from './level_meter.js';
import { Plots } from './plots.js';
import { MAX_RECORDING_SECONDS } from './recorder.js';
import { RecordingPlayer } from './recording_player.js';
import { SLOWNESS_MESSAGES, SlownessDetector } from './slowness_detector.js';
import { StatsView } from './stats_view.js';
import { showStatus } from './status.js';
import { isFaceFrame } from './timeline.js';

const PLOT_INTERVAL_MS = 45;
const STATS_INTERVAL_MS = 400;
const GROUPS = ['conversation', 'advanced', 'diagnostics'];

/** The page after its start. */
class Page {
  /** @param {FaceView} view with a face loaded */
  constructor(view) {
    this.view = view;
    this.stats = new StatsView(element('stats'));
    this.level = new LevelMeter(element('level'));
    this.slowness = new SlownessDetector();
    /** @type {Set<import('./slowness_detector.js').Cause>} */
    this.dismissed = new Set();
    this.panel = new ControlsPanel(element('controls'), (changes) =>
      this.app.connection.sendText({ type: 'set', ...changes }),
    );
    /** @type {Plots | null} */
    this.plots = null;
    this.plotsDrawnAt = 0;
    this.statsShownAt = 0;
    const url = new URL('/socket', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    url.search = '';
    this.app = new RecordingPlayer(
      view,
      {
        onHello: (info) => this.#onHello(info),
        showStatus: (message, isError) => showStatus(message, isError, this.app.connected),
        onChange: () => this.update(),
        onAudio: (samples, time, sampleRate) => {
          this.level.addSamples(samples);
          this.plots?.addSamples(samples, time, sampleRate);
        },
        onFrame: (frame) => {
          if (isFaceFrame(frame)) this.plots?.addLipGap(frame.time, view.lipGap(frame.weights));
        },
        onTimelineStart: () => this.plots?.clear(),
        onRecording: showDownloads,
      },
      url.href,
    );
    this.app.controlValues = () => this.panel.values;
    this.faceChoice = new FaceChoice(view);
    this.conversation = new ConversationPanel(
      details('conversation'),
      this.app,
      (emotion) => this.panel.set('emotion', emotion),
      (x, y) => view.scene.gazeTarget(x, y),
    );
    Object.assign(window, { page: this, app: this.app }); // for tests and measurements
    this.#connectButtons();
    this.#connectFiles();
    window.addEventListener('keydown', ({ key }) => {
      if (key === 'Escape') this.app.interrupt();
    });
    document.addEventListener('visibilitychange', () => this.app.pauseWhileHidden());
  }

  /** @param {number} now time of the animation frame, ms */
  draw(now) {
    requestAnimationFrame((next) => this.draw(next));
    const { app, view } = this;
    const { timeline, audio } = app;
    if (view.draw(now, timeline, timeline !== null && timeline.clock === audio.clock)) app.recorder?.onDraw(timeline);
    this.level.draw(now);
    if (this.plots && now - this.plotsDrawnAt > PLOT_INTERVAL_MS) {
      this.plotsDrawnAt = now;
      this.plots.draw(timeline ? timeline.clock.playbackTime(now) : 0, view.pose.weights);
      const played = app.source === 'file' ? Math.min(1, Math.max(0, app.filePosition / audio.duration)) : 0;
      element('progress-fill').style.transform = `scaleX(${played})`;
    }
    if (app.serverInfo && now - this.statsShownAt > STATS_INTERVAL_MS) {
      this.statsShownAt = now;
      this.stats.update(app);
      this.#showSlowness(now);
    }
    if (app.isFinished) app.stop();
    if (app.recorder && app.recorder.seconds > MAX_RECORDING_SECONDS) app.finishRecording();
  }

  /** Show the state of the application on its buttons. */
  update() {
    const { source, audio, recorder, connected, serverInfo, isOpening, partnerAudio } = this.app;
    const { classList } = document.body;
    const isActive = source !== null && !isOpening;
    if (isActive !== classList.contains('active')) {
      const focused = document.activeElement;
      classList.toggle('active', isActive);
      this.#showOptions(isActive && GROUPS.some((id) => details(id).open));
      if (focused && !focused.checkVisibility()) button('speak').focus();
      if (isActive) this.app.lookAt(null); // the pointer is where the button was
    }
    classList.toggle('opening', isOpening);
    element('opening').hidden = !isOpening;
    button('speak').textContent = isOpening ? 'Cancel' : isActive ? 'Stop' : 'Speak';
    button('speak').disabled = !serverInfo;
    for (const id of ['sample', 'file', 'avatar']) button(id).disabled = !serverInfo || isOpening;
    const connection = element('connection');
    connection.classList.toggle('on', connected);
    connection.title = connected ? 'connected' : 'not connected';
    connection.setAttribute('aria-label', connection.title);
    button('watch').hidden = !serverInfo?.watch;
    button('record').setAttribute('aria-pressed', String(recorder !== null));
    button('record').textContent = recorder ? 'Stop recording' : 'Record';
    button('interrupt').hidden = source === 'watch' || source === 'file';
    button('sound').setAttribute('aria-pressed', String(source !== null && !audio.muted));
    button('sound').hidden = !audio.graph;
    if (partnerAudio) partnerAudio.onInput = (samples) => this.level.addSamples(samples);
    this.conversation.update();
  }

  /** @param {number} now ms */
  #showSlowness(now) {
    const cause = this.slowness.check(now, this.app);
    const notice = element('notice');
    notice.hidden = !cause || this.dismissed.has(cause);
    if (!cause || notice.hidden) return;
    const text = element('notice-text');
    if (text.textContent !== SLOWNESS_MESSAGES[cause]) text.textContent = SLOWNESS_MESSAGES[cause];
    button('dismiss').onclick = () => {
      this.dismissed.add(cause);
      notice.hidden = true;
    };
  }

  /** @param {boolean} shown whether the options are shown beside a source that plays */
  #showOptions(shown) {
    document.body.classList.toggle('options', shown);
    button('options').setAttribute('aria-expanded', String(shown));
  }

  /** @param {import('./player.js').ServerInfo} info */
  #onHello(info) {
    this.plots ||= new Plots(canvas('curves'), element('bars'), info.names);
    this.panel.build(info.controls);
    this.conversation.build(info);
    element('facts').textContent =
      `Model ${info.model} on ${info.device}: ${info.frame_rate} frames/s, look-ahead ${Math.round(1000 * info.lookahead)} ms; version ` +
      `${info.version}. Files that you open or record stay in this browser; only audio and texts to say are sent, to this server.`;
    this.update();
  }

  #connectButtons() {
    const { app, view } = this;
    button('speak').onclick = () => {
      if (app.source || app.isOpening) return app.stop();
      element('opening-label').textContent = 'Waiting for the microphone';
      element('opening-progress').removeAttribute('value');
      return app.startMicrophone();
    };
    button('watch').onclick = () => app.startWatching();
    button('file').onclick = () => input('pick-audio').click();
    button('sample').onclick = async () => this.#play(await (await fetch('/voice.flac')).blob(), 'the sample');
    button('options').onclick = () => this.#showOptions(!document.body.classList.contains('options'));
    button('interrupt').onclick = () => app.interrupt();
    button('sound').onclick = () => {
      app.audio.setMuted(!app.audio.muted);
      this.update();
    };
    button('record').onclick = () => {
      if (app.recorder) app.finishRecording();
      else app.startRecording(canvas('face'));
    };
    button('avatar').onclick = () => input('pick-face').click();
    select('detail').value = view.detail.choice;
    element('software-note').hidden = !view.detail.isSoftware;
    select('detail').onchange = () => view.detail.choose(select('detail').value);
  }

  #connectFiles() {
    for (const id of ['pick-audio', 'pick-face']) {
      input(id).onchange = () => {
        const file = input(id).files?.[0];
        if (file) this.#open(file);
        input(id).value = '';
      };
    }
    window.addEventListener('dragover', (event) => {
      event.preventDefault();
      document.body.classList.add('dropping');
    });
    window.addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) document.body.classList.remove('dropping');
    });
    window.addEventListener('drop', (event) => {
      event.preventDefault();
      document.body.classList.remove('dropping');
      const file = event.dataTransfer?.files[0];
      if (file) this.#open(file);
    });
  }

  /**
   * Play a file, and show how far it has been read.
   * @param {Blob} file
   * @param {string} name
   */
  #play(file, name) {
    const bar = progress('opening-progress');
    const label = element('opening-label');
    bar.value = 0;
    label.textContent = `Reading ${name}`;
    return this.app.playFile(file, name, (fraction) => {
      bar.value = fraction;
      if (fraction < 1) return;
      label.textContent = `Decoding ${name}`;
      bar.removeAttribute('value');
    });
  }

  /** @param {File} file audio, or a face */
  async #open(file) {
    if (!this.app.serverInfo) return;
    if (/\.(glb|gltf|vrm)$/i.test(file.name)) await this.faceChoice.openFile(file);
    else await this.#play(file, file.name.slice(0, 60));
  }
}

/** @param {import('./recorder.js').RecordedFile[]} files */
function showDownloads(files) {
  const downloads = element('downloads');
  for (const link of downloads.querySelectorAll('a')) URL.revokeObjectURL(link.href);
  downloads.replaceChildren(
    ...files.map(({ name, blob }) => {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.textContent = `${name.split('.').pop()?.toUpperCase()} · ${Math.ceil(blob.size / 1000)} kB`;
      return link;
    }),
  );
  downloads.hidden = !files.length;
}

try {
  const detail = new URLSearchParams(location.search).get('detail') || 'auto';
  const view = new FaceView(canvas('face'), detail);
  const light = matchMedia('(prefers-color-scheme: light)');
  const showStudio = () => view.setStudio(light.matches);
  light.addEventListener('change', showStudio);
  if (light.matches) showStudio();
  await view.load();
  const page = new Page(view);
  requestAnimationFrame((now) => page.draw(now));
} catch (error) {
  console.error(error);
  const { message } = /** @type {Error} */ (error);
  showStatus(
    /webgl/i.test(message) ? 'This browser has no WebGL: the face cannot be shown.' : message,
    true,
    false,
  );
}
