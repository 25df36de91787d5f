// SPDX-License-Identifier: Apache-2.0
// Frames of one run of a stream, shown when their audio is audible: buffers them by time, interpolates, and adapts the
// playback delay to the arrival of the frames.
import { FACE } from './protocol.js';

const BUFFER_SECONDS = 6;
const CROSSFADE_SECONDS = 0.16; // from the pose before the timeline's start
const LOW_LATENCY_BLEND = 0.5; // of a frame's duration
const WALL_CLOCK_MARGIN_SECONDS = 0.02;

/** @typedef {import('./protocol.js').Frame} Frame */
/** @typedef {import('./clocks.js').WallClock | import('./clocks.js').AudioOutputClock} AnyClock */

/**
 * A pose of a blendshape face.
 * @typedef {object} Pose
 * @property {Float32Array} weights (52,)
 * @property {Float32Array} head quaternion xyzw, axes of the package
 */

/**
 * The interpolated frame of a moment.
 * @typedef {object} TimelineSample
 * @property {number} time on the timeline, s
 * @property {Frame} from
 * @property {Frame} to
 * @property {number} ratio weight of `to`, 0..1
 * @property {number} fade weight of this sample against the timeline's initial pose, 0..1
 */

export class Timeline {
  /**
   * @param {AnyClock} clock
   * @param {number} frameRate frames/s
   * @param {Pose} initialPose pose to fade from
   * @param {boolean} lowLatency whether frames are shown as soon as possible, for audio that is not played back
   */
  constructor(clock, frameRate, initialPose, lowLatency) {
    this.clock = clock;
    this.frameRate = frameRate;
    this.initialPose = initialPose;
    this.lowLatency = lowLatency;
    this.blendSeconds = (lowLatency ? LOW_LATENCY_BLEND : 1) / frameRate; // interpolation before a frame's time
    /** @type {Frame[]} */
    this.frames = [];
    /** @type {number[]} */
    this.margins = []; // s by which the last frames arrived before they were needed
    /** @type {number | null} */
    this.startTime = null; // ms at which the first frame was shown
    this.settledAt = 0; // ms at which the last change of the delay has taken effect
    this.lateCount = 0; // frames that arrived too late
    this.displayLatency = 0.017; // s from drawing an image to its display
  }

  /** The newest frame, or null. */
  get newest() {
    return this.frames.length ? this.frames[this.frames.length - 1] : null;
  }

  /**
   * Add a frame; one that is not newer than all others is ignored.
   * @param {Frame} frame
   * @param {number} now ms
   */
  add(frame, now) {
    if (this.newest && frame.time <= this.newest.time) return;
    const { clock } = this;
    if ('startAt' in clock && !clock.isStarted) {
      clock.startAt(frame.time - this.blendSeconds - this.displayLatency - WALL_CLOCK_MARGIN_SECONDS, now);
    }
    this.frames.push(frame);
    while (this.frames[0].time < frame.time - BUFFER_SECONDS) this.frames.shift();
    const playbackTime = clock.playbackTime(now);
    if (playbackTime === -Infinity) return;
    const margin = frame.time - this.blendSeconds - this.displayLatency - playbackTime;
    this.margins.push(margin);
    if (margin < -0.004) this.lateCount++;
    if (now < this.settledAt) return;
    if (this.lowLatency) this.#adaptLowLatency(now);
    else this.#adaptSmoothly(now, margin);
  }

  /**
   * Three of four frames arrive just in time; the fourth is shown a few ms late.
   * @param {number} now ms
   */
  #adaptLowLatency(now) {
    if (this.margins.length > 25) this.margins.shift();
    if (this.margins.length < 12) return;
    const quartile = [...this.margins].sort((a, b) => a - b)[Math.floor(this.margins.length / 4)];
    if (quartile < 0) this.#delayBy(0.004 - quartile, false, now, 200);
    else if (quartile > 0.009) this.#delayBy(0.005 - quartile, quartile < 0.04, now, 300);
  }

  /**
   * All frames arrive in time; audible sound jumps only where the face would lag visibly otherwise.
   * @param {number} now ms
   * @param {number} margin s, of the newest frame
   */
  #adaptSmoothly(now, margin) {
    if (margin < -0.01) {
      this.#delayBy(0.025 - margin, false, now, 200);
    } else if (margin < 0.006) {
      this.#delayBy(0.02 - margin, true, now, 1000);
    } else if (this.margins.length >= 250) {
      const minimum = Math.min(...this.margins);
      if (minimum > 0.12) this.#delayBy(0.06 - minimum, true, now, 2000);
      else this.margins.splice(0, 100);
    }
  }

  /**
   * @param {number} seconds
   * @param {boolean} gradual
   * @param {number} now ms
   * @param {number} settleMs
   */
  #delayBy(seconds, gradual, now, settleMs) {
    this.clock.delayBy(seconds, gradual);
    this.margins.length = 0;
    this.settledAt = now + settleMs;
  }

  /**
   * The sample to show at `now`; null before the first frame.
   * @param {number} now ms
   * @returns {TimelineSample | null}
   */
  sample(now) {
    const { frames } = this;
    const playbackTime = this.clock.playbackTime(now);
    if (!frames.length || playbackTime < frames[0].time - 1 / this.frameRate) return null;
    if (this.startTime === null) this.startTime = now;
    let k = frames.length - 1;
    while (k > 0 && frames[k].time > playbackTime) k--;
    const from = frames[k];
    const to = frames[k + 1] || from;
    const ratio = to === from ? 0 : clamp01(1 - (to.time - playbackTime) / this.blendSeconds);
    const fade = Math.min(1, (now - this.startTime) / (1000 * CROSSFADE_SECONDS));
    return { time: from.time + ratio * (to.time - from.time), from, to, ratio, fade };
  }
}

/** @param {number} value */
const clamp01 = (value) => Math.min(1, Math.max(0, value));

/**
 * The last frame that a sample shows completely.
 * @param {TimelineSample} sample
 */
export const completedFrame = ({ from, to, ratio }) => (ratio >= 0.999 ? to : from);

/**
 * Whether a frame carries a pose.
 * @param {Frame} frame
 * @returns {frame is import('./protocol.js').FaceFrame}
 */
export const isFaceFrame = (frame) => frame.kind === FACE;

/**
 * Interpolate two poses; quaternions by normalised linear interpolation.
 * @param {Pose} a
 * @param {Pose} b
 * @param {number} ratio weight of `b`, 0..1
 * @param {Pose} out may be `a` or `b`
 */
export function blendPoses(a, b, ratio, out) {
  for (let i = 0; i < a.weights.length; i++) {
    out.weights[i] = a.weights[i] + ratio * (b.weights[i] - a.weights[i]);
  }
  let dot = 0;
  for (let i = 0; i < 4; i++) dot += a.head[i] * b.head[i];
  const sign = dot < 0 ? -1 : 1; // the shorter way
  let squaredLength = 0;
  for (let i = 0; i < 4; i++) {
    out.head[i] = a.head[i] + ratio * (sign * b.head[i] - a.head[i]);
    squaredLength += out.head[i] * out.head[i];
  }
  for (let i = 0; i < 4; i++) out.head[i] /= Math.sqrt(squaredLength) || 1;
}
