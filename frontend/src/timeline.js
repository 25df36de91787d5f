// SPDX-License-Identifier: Apache-2.0
// The frames of one run of a voice, shown when their sound is heard: keeps them by time, mixes the two around a moment,
// and has the sound wait as long as the frames need.
const KEPT = 6; // s of frames
const FADE = 0.16; // s of fading from the pose before
const SWIFT = 0.5; // share of a frame's time in which an eager timeline moves to the next: it can wait that much less

export class Timeline {
  // clock: of clocks.js; rate: frames/s; before: the pose to begin from; eager: as soon as can be, for a voice whose
  // sound nobody hears; else steadily, for one that is heard.
  constructor(clock, rate, before, eager) {
    Object.assign(this, { clock, rate, before, eager });
    this.window = (eager ? SWIFT : 1) / rate; // s before its time at which a frame begins to be mixed in
    this.frames = [];
    this.early = []; // s by which the last frames came before they were needed
    this.begun = null;
    this.late = 0; // frames that came too late
    this.lead = 0.017; // s by which pictures are drawn before they are seen
  }

  // frame: of protocol.js; now: ms of performance.now().
  add(frame, now) {
    const last = this.newest;
    if (last && frame.time <= last.time) return;
    if (this.clock.set && this.clock.base === null) this.clock.set(frame.time - this.window - this.lead - 0.02, now);
    this.frames.push(frame);
    while (this.frames[0].time < frame.time - KEPT) this.frames.shift();
    const heard = this.clock.heard(now);
    if (heard === -Infinity) return;
    const early = frame.time - this.window - this.lead - heard;
    this.early.push(early);
    if (early < -0.004) this.late++;
    if (this.settled && now < this.settled) return; // the last change is on its way
    if (this.eager) this._hurry(now);
    else this._steady(now, early);
  }

  // Three of four frames should come in time, and hardly earlier; the others are shown as they come, a few ms late.
  _hurry(now) {
    if (this.early.length > 25) this.early.shift();
    if (this.early.length < 12) return;
    const low = [...this.early].sort((a, b) => a - b)[Math.floor(this.early.length / 4)];
    if (low < 0) this._shift(0.004 - low, false, now, 200);
    else if (low > 0.009) this._shift(0.005 - low, low < 0.04, now, 300);
  }

  // Every frame should come in time; what is heard jumps only where it would be seen otherwise.
  _steady(now, early) {
    if (early < -0.01) return this._shift(0.025 - early, false, now, 200);
    if (early < 0.006) return this._shift(0.02 - early, true, now, 1000);
    if (this.early.length < 250) return undefined;
    const least = Math.min(...this.early);
    if (least > 0.12) return this._shift(0.06 - least, true, now, 2000);
    return this.early.splice(0, 100);
  }

  _shift(seconds, soft, now, ms) {
    this.clock.shift(seconds, soft);
    this.early.length = 0;
    this.settled = now + ms;
  }

  get newest() {
    return this.frames[this.frames.length - 1] || null;
  }

  // Whether every frame has been shown at `now`.
  done(now) {
    return !this.frames.length || this.clock.heard(now) >= this.newest.time;
  }

  // The pose at `now`: {time: of the voice that is shown, from, to: frames, share: of `to`}; null before the first.
  at(now) {
    const heard = this.clock.heard(now),
      { frames } = this;
    if (!frames.length || heard < frames[0].time - 1 / this.rate) return null;
    if (this.begun === null) this.begun = now;
    let k = frames.length - 1;
    while (k > 0 && frames[k].time > heard) k--;
    const from = frames[k],
      to = frames[k + 1] || from;
    const share = to === from ? 0 : Math.min(1, Math.max(0, 1 - (to.time - heard) / this.window));
    const fade = Math.min(1, (now - this.begun) / (1000 * FADE));
    return { time: from.time + share * (to.time - from.time), from, to, share, fade };
  }
}

// The last frame that is fully shown in what `Timeline.at` gives.
export const whole = ({ from, to, share }) => (share >= 0.999 ? to : from);

// Two poses of a blendshape face mixed: into out {weights, head}.
export function mix(a, b, share, out) {
  for (let i = 0; i < a.weights.length; i++) out.weights[i] = a.weights[i] + share * (b.weights[i] - a.weights[i]);
  let dot = 0,
    sum = 0;
  for (let i = 0; i < 4; i++) dot += a.head[i] * b.head[i];
  const sign = dot < 0 ? -1 : 1;
  for (let i = 0; i < 4; i++) {
    out.head[i] = a.head[i] + share * (sign * b.head[i] - a.head[i]);
    sum += out.head[i] * out.head[i];
  }
  for (let i = 0; i < 4; i++) out.head[i] /= Math.sqrt(sum) || 1;
  return out;
}
