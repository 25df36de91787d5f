// The frames of one run of a voice, shown when their sound is heard: keeps them by time, mixes the two around a moment,
// and has the sound wait as long as the frames need, no longer.
const KEPT = 6; // s of frames
const SPARE = 0.012, ROOM = 0.030; // s by which a frame should be early at least; beyond which the wait is shortened
const FADE = 0.16; // s of fading from the pose before

export class Timeline {
  // clock: of clocks.js; rate: frames/s; before: the pose to begin from; eager: shorten the wait when there is room.
  constructor(clock, rate, before, eager) {
    Object.assign(this, { clock, rate, before, eager });
    this.frames = [];
    this.early = []; // [now, s by which a frame came before it was needed]
    this.begun = null;
    this.late = 0; // frames that came too late
    this.lead = 0.017; // s by which pictures are drawn before they are seen
  }

  // frame: of protocol.js; now: ms of performance.now().
  add(frame, now) {
    const last = this.frames[this.frames.length - 1];
    if (last && frame.time <= last.time) return;
    if (this.clock.set && this.clock.base === null) this.clock.set(frame.time - 1 / this.rate - this.lead - 0.02, now);
    frame.came = now;
    this.frames.push(frame);
    while (this.frames[0].time < frame.time - KEPT) this.frames.shift();
    const heard = this.clock.heard(now);
    if (heard === -Infinity) return;
    const early = frame.time - 1 / this.rate - this.lead - heard; // it is mixed in from the frame before on
    this.early.push([now, early]);
    if (early < 0) this.late++;
    this._adapt(now, early);
  }

  _adapt(now, early) {
    if (this.settled && now < this.settled) return; // the last change is on its way
    if (early < 0.3 * SPARE) {
      this.clock.shift(SPARE - early, early > -0.004 && this.eager);
      this._settle(now, 150);
    } else if (now - this.early[0][0] > (this.eager ? 1500 : 8000)) {
      const least = Math.min(...this.early.map(([, value]) => value));
      if (least > (this.eager ? ROOM : 4 * ROOM)) {
        this.clock.shift(SPARE + 0.004 - least, true);
        this._settle(now, 1000);
      }
      this.early.splice(0, Math.ceil(this.early.length / 3));
    }
  }

  _settle(now, ms) {
    this.early.length = 0;
    this.settled = now + ms;
  }

  get newest() { return this.frames[this.frames.length - 1] || null; }

  // Whether every frame has been shown at `now`.
  done(now) { return !this.frames.length || this.clock.heard(now) >= this.newest.time; }

  // The pose at `now`: {time: of the voice that is shown, from, to: frames, share: of `to`}; null before the first.
  at(now) {
    const heard = this.clock.heard(now), { frames } = this;
    if (!frames.length || heard < frames[0].time - 1 / this.rate) return null;
    if (this.begun === null) this.begun = now;
    let k = frames.length - 1;
    while (k > 0 && frames[k].time > heard) k--;
    const from = frames[k], to = frames[k + 1] || from;
    const share = to === from ? 0 : Math.min(1, Math.max(0, (heard - from.time) / (to.time - from.time)));
    const fade = Math.min(1, (now - this.begun) / (1000 * FADE));
    return { time: from.time + share * (to.time - from.time), from, to, share, fade };
  }
}

// Two poses of a blendshape face mixed: into out {weights, head}.
export function mix(a, b, share, out) {
  for (let i = 0; i < a.weights.length; i++) out.weights[i] = a.weights[i] + share * (b.weights[i] - a.weights[i]);
  let dot = 0, sum = 0;
  for (let i = 0; i < 4; i++) dot += a.head[i] * b.head[i];
  const sign = dot < 0 ? -1 : 1;
  for (let i = 0; i < 4; i++) {
    out.head[i] = a.head[i] + share * (sign * b.head[i] - a.head[i]);
    sum += out.head[i] * out.head[i];
  }
  for (let i = 0; i < 4; i++) out.head[i] /= Math.sqrt(sum) || 1;
  return out;
}
