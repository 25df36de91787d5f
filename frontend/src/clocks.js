// SPDX-License-Identifier: Apache-2.0
// Playback clocks: they map the present to the audible time of a timeline. Both implement `Clock`.

const MAX_SLEW = 0.02; // fraction of real time by which a wall clock is adjusted gradually
const CAPTURE_BUCKET_MS = 250;
const CAPTURE_BUCKETS = 8;
const MAX_OFFSETS = 101; // of the output time, for their median

/**
 * @typedef {object} Clock
 * @property {(now: number) => number} playbackTime time on the timeline, s, that is audible at `now`, ms of
 *   performance.now(); -Infinity before the start
 * @property {(time: number) => number | null} captureTime when a moment of the timeline was recorded, ms of
 *   performance.now(); null if unknown
 * @property {(seconds: number, gradual: boolean) => void} delayBy delay the playback (below 0: advance it)
 */

/**
 * Clock of a timeline without audio.
 * @implements {Clock}
 */
export class WallClock {
  constructor() {
    /** @type {number | null} */
    this.start = null; // ms of performance.now() at time 0
    this.targetStart = 0;
    this.lastCall = 0;
  }

  get isStarted() {
    return this.start !== null;
  }

  /**
   * Start, so that `time` is the playback time at `now`.
   * @param {number} time s
   * @param {number} now ms
   */
  startAt(time, now) {
    this.start = this.targetStart = now - 1000 * time;
    this.lastCall = now;
  }

  stop() {
    this.start = null;
  }

  /** @param {number} now */
  playbackTime(now) {
    if (this.start === null) return -Infinity;
    const difference = this.targetStart - this.start;
    if (difference !== 0) {
      const maxStep = MAX_SLEW * Math.max(0, now - this.lastCall);
      this.start += Math.abs(difference) <= maxStep ? difference : Math.sign(difference) * maxStep;
    }
    this.lastCall = now;
    return (now - this.start) / 1000;
  }

  captureTime() {
    return null;
  }

  /**
   * @param {number} seconds
   * @param {boolean} gradual
   */
  delayBy(seconds, gradual) {
    if (this.start === null) return;
    this.targetStart = this.start + 1000 * seconds;
    if (!gradual) this.start = this.targetStart;
  }
}

/**
 * Clock of the audio device. The delay-line worklet reports which sample it plays in which frame of the audio context,
 * and the context at which time that frame is audible.
 * @implements {Clock}
 */
export class AudioOutputClock {
  /**
   * @param {AudioContext} context
   * @param {(seconds: number, gradual: boolean) => void} delayBy changes the delay of the delay line
   */
  constructor(context, delayBy) {
    this.context = context;
    this.delayBy = delayBy;
    this.sampleRate = context.sampleRate;
    this.origin = 0; // position in the delay line at time 0 of the timeline
    this.delay = 0; // samples
    /** @type {number | null} */
    this.startFrame = null; // context frame of position 0
    /** @type {number[]} */
    this.offsets = []; // performance.now() minus context time, ms
    /** @type {number | null} */
    this.offset = null; // median of `offsets`
    /** @type {[number, number][]} */
    this.captureBuckets = []; // [end of the bucket, ms; minimum in it]
    this.captureOffset = Infinity; // ms of performance.now() at which position 0 was recorded
  }

  /**
   * Process a report of the worklet.
   * @param {{startFrame: number, delay: number, end: number}} report
   * @param {number} now ms
   */
  onReport({ startFrame, delay, end }, now) {
    this.startFrame = startFrame;
    this.delay = delay;
    this.#updateCaptureOffset(now, now - (1000 * end) / this.sampleRate);
    const stamp = this.context.getOutputTimestamp?.();
    if (stamp?.performanceTime && stamp.contextTime !== undefined) {
      this.offsets.push(stamp.performanceTime - 1000 * stamp.contextTime);
    } else {
      const latencyMs = 1000 * (this.context.outputLatency || this.context.baseLatency || 0);
      this.offsets.push(now - 1000 * this.context.currentTime + latencyMs);
    }
    if (this.offsets.length > MAX_OFFSETS) this.offsets.shift();
    if (this.offsets.length < 20 || this.offsets.length % 10 === 0 || this.offset === null) {
      this.offset = [...this.offsets].sort((a, b) => a - b)[this.offsets.length >> 1];
    }
  }

  /**
   * The report that took least time within two seconds gives the capture time; it follows when the device stalls.
   * @param {number} now ms
   * @param {number} value ms
   */
  #updateCaptureOffset(now, value) {
    const last = this.captureBuckets[this.captureBuckets.length - 1];
    if (last && now < last[0]) last[1] = Math.min(last[1], value);
    else this.captureBuckets.push([now + CAPTURE_BUCKET_MS, value]);
    if (this.captureBuckets.length > CAPTURE_BUCKETS) this.captureBuckets.shift();
    this.captureOffset = Math.min(...this.captureBuckets.map(([, minimum]) => minimum));
  }

  /** @param {number} now */
  playbackTime(now) {
    if (this.startFrame === null || this.offset === null) return -Infinity;
    // nothing is audible before it is rendered: do not extrapolate past a stalled audio thread
    const renderedSeconds = this.context.currentTime + Math.max(0, now - performance.now()) / 1000;
    const frame = this.sampleRate * Math.min((now - this.offset) / 1000, renderedSeconds);
    return (frame - this.startFrame - this.delay - this.origin) / this.sampleRate;
  }

  /**
   * When a frame of the audio context is audible, ms of performance.now().
   * @param {number} frame
   */
  audibleAt(frame) {
    return (this.offset ?? 0) + (1000 * frame) / this.sampleRate;
  }

  /** @param {number} time */
  captureTime(time) {
    return this.captureOffset + 1000 * (time + this.origin / this.sampleRate);
  }
}
