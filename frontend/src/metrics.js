// SPDX-License-Identifier: Apache-2.0
// Measurements of the page. An image drawn in one animation frame counts as displayed when the next one begins and the
// GPU has finished it. "A/V offset": playback time at that moment minus the time shown. "Latency": from the capture of
// the middle of a frame's audio to the display of that frame.
import { completedFrame } from './timeline.js';

const WINDOW_MS = 10000;
const DRAW_WINDOW_MS = 2000;
const WARM_UP_MS = 1000; // after a start, before the A/V offset is recorded
const MAX_PENDING = 8; // images
const LATENCY_SMOOTHING = 0.15;
const MAX_DISPLAY_LATENCY_MS = 250;

/** @typedef {import('./timeline.js').Timeline} Timeline */
/** @typedef {import('./timeline.js').TimelineSample} TimelineSample */
/** @typedef {[number, number]} Measurement time of performance.now() and value, both ms */

/**
 * An image that has been drawn and is not displayed yet.
 * @typedef {object} PendingImage
 * @property {Timeline | null} timeline
 * @property {TimelineSample | null} sample
 * @property {WebGLSync | null} fence
 * @property {number} drawnAt ms
 */

/**
 * @typedef {object} MetricsLog
 * @property {[number, number, number][]} images [now in ms, time shown in s, A/V offset in ms]
 * @property {[number, number, number][]} frames [now in ms, frame's time in s, latency in ms]
 */

export class Metrics {
  /** @param {WebGL2RenderingContext} gl */
  constructor(gl) {
    this.gl = gl;
    /** @type {PendingImage[]} */
    this.pending = []; // images that are not displayed yet
    /** @type {Measurement[]} */
    this.avOffset = [];
    /** @type {Measurement[]} */
    this.latency = [];
    /** @type {Measurement[]} */
    this.modelTime = []; // of the server
    /** @type {number[]} */
    this.drawTimes = []; // ms
    this.worstAvOffset = 0; // ms
    this.displayLatencyMs = 17; // from drawing to display, smoothed
    this.startedAt = 0;
    /** @type {number | null} */
    this.lastFrameTime = null;
    /** @type {MetricsLog | null} */
    this.log = null; // set by tests and benchmarks
  }

  /**
   * Start over with a new timeline.
   * @param {number} now ms
   */
  reset(now) {
    this.startedAt = now;
    this.worstAvOffset = 0;
    this.avOffset.length = this.latency.length = 0;
  }

  /**
   * @param {number} now ms
   * @param {number} ms duration of a model step
   */
  addModelTime(now, ms) {
    this.modelTime.push([now, ms]);
    discardBefore(this.modelTime, now - WINDOW_MS);
  }

  /**
   * An image has been drawn.
   * @param {Timeline | null} timeline
   * @param {TimelineSample | null} sample that it shows
   */
  onDraw(timeline, sample) {
    const { gl } = this;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    if (fence) gl.flush();
    const now = performance.now();
    this.drawTimes.push(now);
    while (this.drawTimes[0] < now - DRAW_WINDOW_MS) this.drawTimes.shift();
    this.pending.push({ timeline, sample, fence, drawnAt: now });
    if (this.pending.length > MAX_PENDING) this.#shiftPending();
  }

  /**
   * An animation frame begins.
   * @param {boolean} hasSound whether the timeline's clock is that of audible sound
   */
  onAnimationFrame(hasSound) {
    while (this.pending.length) {
      const { timeline, sample, fence, drawnAt } = this.pending[0];
      if (fence && this.gl.getSyncParameter(fence, this.gl.SYNC_STATUS) !== this.gl.SIGNALED) break;
      this.#shiftPending();
      const latencyMs = Math.min(MAX_DISPLAY_LATENCY_MS, performance.now() - drawnAt);
      this.displayLatencyMs += LATENCY_SMOOTHING * (latencyMs - this.displayLatencyMs);
      if (timeline && sample) this.#onDisplay(timeline, sample, performance.now(), hasSound);
    }
  }

  /** Whether two images wait for the GPU: a third would only be late. */
  get isGpuBusy() {
    return this.pending.length >= 2;
  }

  /** Images drawn per second. */
  get imageRate() {
    const times = this.drawTimes;
    return times.length > 1 ? (1000 * (times.length - 1)) / (times[times.length - 1] - times[0]) : 0;
  }

  #shiftPending() {
    const fence = this.pending.shift()?.fence;
    if (fence) this.gl.deleteSync(fence);
  }

  /**
   * @param {Timeline} timeline
   * @param {TimelineSample} sample
   * @param {number} now ms
   * @param {boolean} hasSound
   */
  #onDisplay(timeline, sample, now, hasSound) {
    const offset = 1000 * (timeline.clock.playbackTime(now) - sample.time);
    if (hasSound && now - this.startedAt > WARM_UP_MS) {
      this.avOffset.push([now, offset]);
      discardBefore(this.avOffset, now - WINDOW_MS);
      if (Math.abs(offset) > Math.abs(this.worstAvOffset)) this.worstAvOffset = offset;
    }
    const frame = completedFrame(sample);
    if (frame.time !== this.lastFrameTime) {
      this.lastFrameTime = frame.time;
      const captured = timeline.clock.captureTime(frame.time + 0.5 / timeline.frameRate);
      if (captured !== null) {
        this.latency.push([now, now - captured]);
        this.log?.frames.push([now, frame.time, now - captured]);
      }
      discardBefore(this.latency, now - WINDOW_MS);
    }
    this.log?.images.push([now, sample.time, offset]);
  }
}

/**
 * @param {Measurement[]} measurements in the order of time
 * @param {number} since ms
 */
function discardBefore(measurements, since) {
  const first = measurements.findIndex(([time]) => time >= since);
  measurements.splice(0, first < 0 ? measurements.length : first);
}

/**
 * Quantile of the values; NaN without any.
 * @param {Measurement[]} measurements
 * @param {number} fraction 0..1
 */
export function quantile(measurements, fraction) {
  if (!measurements.length) return NaN;
  const values = measurements.map(([, value]) => value).sort((a, b) => a - b);
  return values[Math.min(values.length - 1, Math.floor(fraction * values.length))];
}
