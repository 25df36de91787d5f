// SPDX-License-Identifier: Apache-2.0
// Detects that this machine draws, or the server generates, too slowly, and says so in words.

const MIN_IMAGE_RATE = 12; // images/s
const MAX_SLOW_MS = 5000; // for which fewer images are drawn, as at the start
const MAX_DROPPED = 25; // frames within WINDOW_MS
const WINDOW_MS = 10000;

/** @typedef {'drawing' | 'server' | 'network'} Cause */

/** @type {Record<Cause, string>} */
export const SLOWNESS_MESSAGES = {
  drawing: 'This machine draws the face too slowly for smooth motion. Close other programs, or lower Detail under Advanced.',
  server: 'The server is too slow for live speech, so parts of it are left out. Lower Diffusion steps under Advanced.',
  network: 'The network, or this browser, is too slow for all frames, so some are left out. Close other pages or downloads.',
};

/** A counter, and by how much it grows within WINDOW_MS. */
class Growth {
  /** @type {[number, number][]} */
  #values = []; // [ms, value]

  /**
   * @param {number} now ms
   * @param {number} value
   */
  add(now, value) {
    const previous = this.#values[this.#values.length - 1];
    if (previous && value < previous[1]) this.#values.length = 0; // it counts from 0 again
    this.#values.push([now, value]);
    while (this.#values[0][0] < now - WINDOW_MS) this.#values.shift();
    return value - this.#values[0][1];
  }
}

export class SlownessDetector {
  #skipped = new Growth();
  #dropped = new Growth();
  /** @type {number | null} */
  #slowSince = null; // ms

  /**
   * @param {number} now ms
   * @param {import('./player.js').Player} player
   * @returns {Cause | null} what is too slow
   */
  check(now, { audioSkipped, sendDropped, view }) {
    const isSlow = view.metrics.imageRate < MIN_IMAGE_RATE && !document.hidden;
    this.#slowSince = isSlow ? (this.#slowSince ?? now) : null;
    const skipped = this.#skipped.add(now, audioSkipped);
    const dropped = this.#dropped.add(now, sendDropped);
    if (skipped > MAX_DROPPED) return 'server';
    if (this.#slowSince !== null && now - this.#slowSince > MAX_SLOW_MS) return 'drawing';
    return dropped > MAX_DROPPED ? 'network' : null;
  }
}
