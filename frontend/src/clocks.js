// SPDX-License-Identifier: Apache-2.0
// Which moment of the voice is at the loudspeaker, or would be: `heard(now)` in seconds of the timeline, now in ms of
// performance.now(). `shift(seconds)` has it heard later (above 0) or earlier.

// Without sound: the wall clock.
export class WallClock {
  constructor() {
    this.base = null;
    this.goal = 0;
  }

  // Have `time` be heard at `now`.
  set(time, now) {
    this.base = this.goal = now - 1000 * time;
  }

  heard(now) {
    if (this.base === null) return -Infinity;
    const gap = this.goal - this.base; // slides by 2 % of the time that passes
    if (gap !== 0) {
      const most = 0.02 * Math.max(0, now - (this.then ?? now));
      this.base += Math.abs(gap) <= most ? gap : Math.sign(gap) * most;
    }
    this.then = now;
    return (now - this.base) / 1000;
  }

  captured() {
    return null;
  }

  shift(seconds, soft) {
    this.goal = this.base + 1000 * seconds;
    if (!soft) this.base = this.goal;
  }
}

// The loudspeaker's: the worklet tells which sample it plays in which frame of the audio context, the context when that
// frame sounds.
export class SoundClock {
  constructor(context) {
    this.context = context;
    this.rate = context.sampleRate;
    this.first = null;
    this.origin = 0; // position of the timeline's second 0
    this.delay = 0; // samples
    this.offsets = [];
    this.buckets = []; // [until, least], ms: how soon the worklet's messages came
    this.capture = Infinity; // ms of performance.now() at which position 0 had been heard
  }

  // The quickest message of the last two seconds tells when the sound came in; a sound card that stumbles moves it.
  _captured(now, value) {
    const last = this.buckets[this.buckets.length - 1];
    if (last && now < last[0]) last[1] = Math.min(last[1], value);
    else this.buckets.push([now + 250, value]);
    if (this.buckets.length > 8) this.buckets.shift();
    this.capture = Math.min(...this.buckets.map(([, least]) => least));
  }

  // A message of the worklet came at `now`.
  told({ first, delay, end }, now) {
    Object.assign(this, { first, delay });
    this._captured(now, now - (1000 * end) / this.rate);
    const stamp = this.context.getOutputTimestamp?.();
    if (stamp && stamp.performanceTime > 0) {
      this.offsets.push(stamp.performanceTime - 1000 * stamp.contextTime);
    } else {
      const late = 1000 * (this.context.outputLatency || this.context.baseLatency || 0);
      this.offsets.push(now - 1000 * this.context.currentTime + late);
    }
    if (this.offsets.length > 101) this.offsets.shift();
    if (this.offsets.length < 20 || this.offsets.length % 10 === 0 || !this.offset) {
      this.offset = [...this.offsets].sort((a, b) => a - b)[this.offsets.length >> 1];
    }
  }

  heard(now) {
    if (this.first === null || this.offset === undefined) return -Infinity;
    // nothing is heard before it is made: an audio thread that stands still is not reckoned on
    const made = this.context.currentTime + Math.max(0, now - performance.now()) / 1000;
    const frame = this.rate * Math.min((now - this.offset) / 1000, made);
    return (frame - this.first - this.delay - this.origin) / this.rate;
  }

  // When a moment of the voice had been heard by the page, in ms of performance.now().
  captured(time) {
    return this.capture + 1000 * (time + this.origin / this.rate);
  }
}
