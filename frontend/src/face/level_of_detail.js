// SPDX-License-Identifier: Apache-2.0
// Level of detail: how finely and how often the face is drawn; lowered automatically where drawing is too slow.

/**
 * @typedef {object} DetailSettings
 * @property {boolean} shadows
 * @property {boolean} tessellated whether each triangle is split in four
 * @property {boolean} plain whether materials and lights suit a software renderer
 * @property {number} pixelRatio maximum device pixels per CSS pixel
 */

/** @type {Record<string, DetailSettings>} */
const LEVELS = {
  high: { shadows: true, tessellated: true, plain: false, pixelRatio: 2 },
  medium: { shadows: true, tessellated: false, plain: false, pixelRatio: 1.25 },
  low: { shadows: false, tessellated: false, plain: true, pixelRatio: 1 },
  lowest: { shadows: false, tessellated: false, plain: true, pixelRatio: 0.6 },
};
const ORDER = Object.keys(LEVELS);
const SLOW_FRAME_MS = 34;
const MAX_SLOW_MS = 2500; // of slow frames, before the level is lowered
const PAUSE_MS = 1000; // a longer frame is a pause, for example of a hidden tab

export class LevelOfDetail {
  /**
   * @param {string} choice a level, or "auto"
   * @param {(settings: DetailSettings) => void} onChange called when the level changes
   */
  constructor(choice, onChange) {
    this.onChange = onChange;
    this.isSoftware = isSoftwareRenderer();
    // it takes processor time from the model and the audio: draw every second animation frame
    this.drawEvery = this.isSoftware ? 2 : 1;
    this.slowMs = 0;
    this.choice = choice in LEVELS ? choice : 'auto';
    this.level = this.#initialLevel();
  }

  /** Of the current level. */
  get settings() {
    return LEVELS[this.level];
  }

  /** @param {string} choice a level, or "auto" */
  choose(choice) {
    this.choice = choice;
    this.#setLevel(this.#initialLevel());
  }

  /** @param {number} ms since the previous animation frame */
  onAnimationFrame(ms) {
    if (this.choice !== 'auto' || ms > PAUSE_MS) return;
    this.slowMs = ms > SLOW_FRAME_MS ? this.slowMs + ms : Math.max(0, this.slowMs - 2 * ms);
    const next = ORDER[ORDER.indexOf(this.level) + 1];
    if (this.slowMs >= MAX_SLOW_MS && next) this.#setLevel(next);
  }

  /** @param {string} level */
  #setLevel(level) {
    this.level = level;
    this.slowMs = 0;
    this.onChange(this.settings);
  }

  #initialLevel() {
    if (this.choice !== 'auto') return this.choice;
    if (this.isSoftware) return 'low';
    return matchMedia('(max-width: 820px)').matches ? 'medium' : 'high'; // phones begin lower
  }
}

function isSoftwareRenderer() {
  const gl = document.createElement('canvas').getContext('webgl2');
  const info = gl?.getExtension('WEBGL_debug_renderer_info');
  const name = gl && info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : '';
  gl?.getExtension('WEBGL_lose_context')?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}
