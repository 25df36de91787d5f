// SPDX-License-Identifier: Apache-2.0
// A live voice to the model's 16 kHz with two milliseconds of delay, where block resamplers hold back ten: a bank of
// windowed sinc filters (Kaiser), one for each place that an output sample can have between input samples.
const CROSSINGS = 32; // zero crossings on each side
const BETA = 7; // 70 dB beyond the band
const PASS = 0.95; // of half the lower rate: the middle of the filter's slope

export class Resampler {
  // from, to: Hz, whole numbers.
  constructor(from, to) {
    const divisor = gcd(from, to);
    this.up = to / divisor; // places
    this.down = from / divisor; // input samples times places, from one output sample to the next
    const low = (Math.min(from, to) * PASS) / from; // cut-off, as a share of half the input rate
    this.half = Math.ceil(CROSSINGS / low);
    this.bank = [];
    for (let place = 0; place < this.up; place++) this.bank.push(this._filter(place / this.up, low));
    this.kept = new Float32Array(2 * this.half); // the last input samples
    this.next = this.half * this.up; // first window of the next output sample and its place, in 1 / up input samples
  }

  // Seconds of input that are held back.
  static delay(from, to) {
    return from === to ? 0 : Math.ceil(CROSSINGS / ((Math.min(from, to) * PASS) / from)) / from;
  }

  _filter(part, low) {
    const taps = new Float32Array(2 * this.half);
    let sum = 0;
    for (let k = 0; k < taps.length; k++) {
      const x = k - this.half + 1 - part,
        edge = x / this.half;
      if (Math.abs(edge) < 1) taps[k] = sinc(low * x) * bessel(BETA * Math.sqrt(1 - edge * edge));
      sum += taps[k];
    }
    return taps.map((tap) => tap / sum);
  }

  // (n,) float32 -> all output samples that are ready, float32; sample m lies at input sample m · from / to.
  accept(input) {
    const all = new Float32Array(this.kept.length + input.length),
      out = [],
      width = 2 * this.half;
    all.set(this.kept);
    all.set(input, this.kept.length);
    const last = all.length - width; // first sample of the last whole window
    for (; Math.floor(this.next / this.up) + 1 <= last; this.next += this.down) {
      const begin = Math.floor(this.next / this.up) + 1,
        taps = this.bank[this.next % this.up];
      let value = 0;
      for (let k = 0; k < width; k++) value += taps[k] * all[begin + k];
      out.push(value);
    }
    this.kept = all.slice(all.length - width);
    this.next -= last * this.up;
    return Float32Array.from(out);
  }
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

function bessel(x) {
  // I0, by its series
  let sum = 1,
    term = 1;
  for (let k = 1; term > 1e-9 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
