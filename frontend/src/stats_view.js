// SPDX-License-Identifier: Apache-2.0
// View of the measurements: a tile for each.
import { quantile } from './metrics.js';

const MAX_AV_OFFSET_MS = 40;

/** @type {Record<string, [label: string, tooltip: string]>} */
const TILES = {
  latency: [
    'end-to-end latency',
    "from the capture of the middle of a frame's audio to its display; median and 95th percentile of 10 s",
  ],
  offset: [
    'A/V offset',
    'playback time of the audio minus time of the image: now, and the worst since the first second',
  ],
  images: ['FPS', 'images that the browser draws per second'],
  dropped: ['dropped frames', 'by the server, under way and here'],
  inference: ['inference time', 'of one step of all voices; median of 10 s'],
  delay: ['audio delay', 'as long as the frames need'],
};

export class StatsView {
  /** @param {HTMLElement} root list for the tiles */
  constructor(root) {
    /** @type {Record<string, {tile: HTMLElement, value: HTMLElement}>} */
    this.tiles = {};
    for (const [name, [label, tooltip]] of Object.entries(TILES)) {
      const tile = document.createElement('div');
      const value = document.createElement('dd');
      const text = document.createElement('dt');
      tile.title = tooltip;
      tile.id = `stat-${name}`;
      text.textContent = label;
      tile.append(text, value);
      root.append(tile);
      this.tiles[name] = { tile, value };
    }
  }

  /**
   * Show the current values.
   * @param {import('./player.js').Player} player
   */
  update(player) {
    const { audio, source, timeline } = player;
    const { metrics } = player.view;
    const hasLatency = source && source !== 'watch' && metrics.latency.length;
    const offset = metrics.avOffset[metrics.avOffset.length - 1];
    const dropped = player.audioSkipped + player.sendDropped + (source && timeline ? timeline.lateCount : 0);
    this.#set(
      'latency',
      hasLatency
        ? `${quantile(metrics.latency, 0.5).toFixed(0)} / ${formatMs(quantile(metrics.latency, 0.95))}`
        : '–',
    );
    this.#set(
      'offset',
      offset ? `${formatInteger(offset[1])} / ${formatInteger(metrics.worstAvOffset)} ms` : '–',
      Math.abs(metrics.worstAvOffset) > MAX_AV_OFFSET_MS,
    );
    this.#set('inference', formatMs(quantile(metrics.modelTime, 0.5), 1));
    this.#set('dropped', String(dropped));
    this.#set('images', metrics.imageRate.toFixed(0));
    this.#set('delay', audio.clock ? formatMs((1000 * audio.clock.delay) / audio.sampleRate) : '–');
  }

  /**
   * @param {string} name
   * @param {string} text
   * @param {boolean} [isBad]
   */
  #set(name, text, isBad = false) {
    const { tile, value } = this.tiles[name];
    if (value.textContent !== text) value.textContent = text;
    tile.classList.toggle('bad', isBad);
  }
}

/** @param {number} value */
const formatInteger = (value) => String(Math.round(value) + 0); // no "-0"

/** @type {(value: number, digits?: number) => string} */
const formatMs = (value, digits = 0) => (Number.isFinite(value) ? `${value.toFixed(digits)} ms` : '–');
