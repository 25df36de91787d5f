// SPDX-License-Identifier: Apache-2.0
// Meter of the sound level: the peak of the last samples on a scale of decibels.

const FLOOR_DB = -54; // below full scale
const LOUD = 0.98; // fraction of full scale from which sound is clipped, or nearly so
const FALL_PER_S = 1.2; // of the scale
const ANNOUNCE_MS = 500; // between two changes of the accessible value

export class LevelMeter {
  /** @param {HTMLElement} root element with the role meter */
  constructor(root) {
    this.root = root;
    this.fill = /** @type {HTMLElement} */ (root.firstElementChild);
    this.level = 0; // 0..1
    this.drawnAt = 0;
    this.announcedAt = 0;
  }

  /** @param {Int16Array} samples */
  addSamples(samples) {
    let peak = 0;
    for (const value of samples) peak = Math.max(peak, Math.abs(value));
    const decibels = 20 * Math.log10(peak / 32768 || 1e-9);
    this.level = Math.max(this.level, Math.min(1, 1 - decibels / FLOOR_DB));
    if (peak > LOUD * 32768) this.root.classList.add('loud');
  }

  /** @param {number} now ms */
  draw(now) {
    this.fill.style.transform = `scaleX(${this.level.toFixed(3)})`;
    this.level = Math.max(0, this.level - (FALL_PER_S * (now - this.drawnAt)) / 1000);
    this.drawnAt = now;
    if (this.level < 0.8) this.root.classList.remove('loud');
    if (now - this.announcedAt < ANNOUNCE_MS) return;
    this.announcedAt = now;
    this.root.setAttribute('aria-valuenow', String(Math.round(100 * this.level)));
  }
}
