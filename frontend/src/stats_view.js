// SPDX-License-Identifier: Apache-2.0
// What is measured, in a few tiles.
import { quantile } from './metrics.js';

const TILES = {
  latency: [
    'sound to screen',
    "from the middle of a frame's sound coming in until the frame is on the screen; median and 95 % of 10 s",
  ],
  apart: [
    'face behind sound',
    'the moment that is heard minus the moment shown: now, and the worst since the first second',
  ],
  model: ['model', 'for one step of all voices; median of 10 s'],
  dropped: ['frames left out', 'by the server, under way and here'],
  fps: ['pictures a second', 'that the browser draws'],
  wait: ['sound delayed by', 'as long as the frames need'],
};

const whole = (value) => String(Math.round(value) + 0); // no "-0"

export class Numbers {
  constructor(root) {
    this.tiles = {};
    for (const [name, [label, hint]] of Object.entries(TILES)) {
      const tile = document.createElement('div'),
        value = document.createElement('strong'),
        text = document.createElement('span');
      tile.title = hint;
      tile.id = `n-${name}`;
      text.textContent = label;
      tile.append(value, text);
      root.append(tile);
      this.tiles[name] = { tile, value };
    }
  }

  // page: Page.
  show(page) {
    const { sound, timeline } = page,
      { measure } = page.picture,
      live = page.source && page.source !== 'watch';
    const ms = (value, digits = 0) => (Number.isFinite(value) ? `${value.toFixed(digits)} ms` : '–');
    const now = measure.apart[measure.apart.length - 1];
    this.put(
      'latency',
      live && measure.latency.length
        ? `${quantile(measure.latency, 0.5).toFixed(0)} / ${ms(quantile(measure.latency, 0.95))}`
        : '–',
    );
    this.put('apart', now ? `${whole(now[1])} / ${whole(measure.worst)} ms` : '–', Math.abs(measure.worst) > 40);
    this.put('model', ms(quantile(measure.model, 0.5), 1));
    this.put('dropped', String((page.dropped || 0) + (page.leftOut || 0) + (page.source ? timeline?.late || 0 : 0)));
    this.put('fps', measure.fps.toFixed(0));
    this.put('wait', sound.clock ? ms((1000 * sound.clock.delay) / sound.rate) : '–');
  }

  put(name, text, bad = false) {
    const { tile, value } = this.tiles[name];
    if (value.textContent !== text) value.textContent = text;
    tile.classList.toggle('bad', bad);
  }
}
