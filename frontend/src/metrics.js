// SPDX-License-Identifier: Apache-2.0
// What the page measures of itself. A picture drawn in one animation frame counts as on the screen when the next one
// begins and the graphics card has finished it. "Apart": the moment that is heard then, minus the moment shown.
// "Latency": from when the middle of a frame's audio came in until that frame is shown.
import { whole } from './timeline.js';

const KEPT = 10000; // ms

export class Measure {
  constructor(gl) {
    this.gl = gl;
    this.pending = [];
    this.apart = []; // [now, ms]
    this.latency = []; // [now, ms]
    this.model = []; // [now, ms] of the server's steps
    this.pictures = []; // ms of the last two seconds' pictures
    this.worst = 0;
    this.lag = 17; // ms from drawing a picture to its being seen, smoothed
    this.log = null; // for who asks: {pictures: [ms, time shown, ms apart], frames: [ms, time, ms of latency]}
  }

  begin(now) {
    this.begun = now;
    this.worst = 0;
    this.apart.length = this.latency.length = 0;
    this.lastIndex = null;
  }

  // The model took `ms` for a step.
  worked(now, ms) {
    this.model.push([now, ms]);
    trim(this.model, now - KEPT);
  }

  // A picture of `shown` (Timeline.at) has been drawn.
  drawn(timeline, shown) {
    const { gl } = this,
      fence = gl.fenceSync ? gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0) : null;
    if (fence) gl.flush();
    const now = performance.now();
    this.pictures.push(now);
    trim(this.pictures, now - 2000);
    this.pending.push({ timeline, shown, fence, at: now });
    if (this.pending.length > 8) this._drop(this.pending.shift());
  }

  // An animation frame begins.
  frame(now, sounding) {
    while (this.pending.length) {
      const { timeline, shown, fence, at } = this.pending[0];
      if (fence && this.gl.getSyncParameter(fence, this.gl.SYNC_STATUS) !== this.gl.SIGNALED) break;
      this._drop(this.pending.shift());
      this.lag += 0.15 * (Math.min(250, performance.now() - at) - this.lag);
      if (shown) this._seen(timeline, shown, performance.now(), sounding);
    }
  }

  // Whether two pictures wait for the graphics card: a third would only come late.
  get full() {
    return this.pending.length >= 2;
  }

  _drop({ fence }) {
    if (fence) this.gl.deleteSync(fence);
  }

  _seen(timeline, shown, now, sounding) {
    const apart = 1000 * (timeline.clock.heard(now) - shown.time);
    if (sounding && now - this.begun > 1000) {
      this.apart.push([now, apart]);
      trim(this.apart, now - KEPT);
      if (Math.abs(apart) > Math.abs(this.worst)) this.worst = apart;
    }
    const frame = whole(shown);
    if (frame.time !== this.lastTime) {
      this.lastTime = frame.time;
      const came = timeline.clock.captured(frame.time + 0.5 / timeline.rate);
      if (came !== null) this.latency.push([now, now - came]);
      if (came !== null && this.log) this.log.frames.push([now, frame.time, now - came]);
      trim(this.latency, now - KEPT);
    }
    if (this.log) this.log.pictures.push([now, shown.time, apart]);
  }

  get fps() {
    const s = this.pictures;
    return s.length > 1 ? (1000 * (s.length - 1)) / (s[s.length - 1] - s[0]) : 0;
  }
}

function trim(list, since) {
  let k = 0;
  while (k < list.length && (Array.isArray(list[k]) ? list[k][0] : list[k]) < since) k++;
  if (k) list.splice(0, k);
}

// The value below which a share of a list of [now, value] lies; NaN of none.
export function quantile(list, share) {
  if (!list.length) return NaN;
  const values = list.map(([, value]) => value).sort((a, b) => a - b);
  return values[Math.min(values.length - 1, Math.floor(share * values.length))];
}
