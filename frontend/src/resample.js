// SPDX-License-Identifier: Apache-2.0
// Streaming resampler with a delay of two milliseconds, less than that of block resamplers: a polyphase bank of
// Kaiser-windowed sinc filters.

const ZERO_CROSSINGS = 32; // on each side
const KAISER_BETA = 7; // 70 dB stop-band attenuation
const CUTOFF = 0.95; // fraction of the lower Nyquist frequency: the middle of the transition band

export class Resampler {
  /**
   * @param {number} inputRate Hz, an integer
   * @param {number} outputRate Hz, an integer
   */
  constructor(inputRate, outputRate) {
    const divisor = gcd(inputRate, outputRate);
    this.phases = outputRate / divisor;
    this.step = inputRate / divisor; // from one output sample to the next, in 1 / phases input samples
    const cutoff = relativeCutoff(inputRate, outputRate);
    this.halfWidth = Math.ceil(ZERO_CROSSINGS / cutoff); // input samples
    this.bank = Array.from({ length: this.phases }, (_, phase) =>
      makeFilter(phase / this.phases, cutoff, this.halfWidth),
    );
    this.history = new Float32Array(2 * this.halfWidth); // the last input samples
    this.position = this.halfWidth * this.phases; // of the next output sample's filter, in 1 / phases input samples
  }

  /**
   * Seconds of input that the filter holds back.
   * @param {number} inputRate Hz
   * @param {number} outputRate Hz
   */
  static delay(inputRate, outputRate) {
    if (inputRate === outputRate) return 0;
    return Math.ceil(ZERO_CROSSINGS / relativeCutoff(inputRate, outputRate)) / inputRate;
  }

  /**
   * Process a chunk of any length.
   * @param {Float32Array} input (n,)
   * @returns {Float32Array} all output samples that are complete; sample m lies at input sample m * inputRate /
   *   outputRate
   */
  accept(input) {
    const samples = new Float32Array(this.history.length + input.length);
    samples.set(this.history);
    samples.set(input, this.history.length);
    const width = 2 * this.halfWidth;
    const lastStart = samples.length - width; // of the last complete window
    /** @type {number[]} */
    const output = [];
    for (; Math.floor(this.position / this.phases) + 1 <= lastStart; this.position += this.step) {
      const start = Math.floor(this.position / this.phases) + 1;
      const taps = this.bank[this.position % this.phases];
      let value = 0;
      for (let k = 0; k < width; k++) value += taps[k] * samples[start + k];
      output.push(value);
    }
    this.history = samples.slice(samples.length - width);
    this.position -= lastStart * this.phases;
    return Float32Array.from(output);
  }
}

/**
 * Cut-off as a fraction of the input's Nyquist frequency.
 * @param {number} inputRate Hz
 * @param {number} outputRate Hz
 */
const relativeCutoff = (inputRate, outputRate) => (Math.min(inputRate, outputRate) * CUTOFF) / inputRate;

/**
 * Taps (2 * halfWidth,) with unit gain at 0 Hz.
 * @param {number} fraction of a sample by which the output lies behind the centre
 * @param {number} cutoff
 * @param {number} halfWidth
 */
function makeFilter(fraction, cutoff, halfWidth) {
  const taps = new Float32Array(2 * halfWidth);
  let sum = 0;
  for (let k = 0; k < taps.length; k++) {
    const x = k - halfWidth + 1 - fraction;
    const edge = x / halfWidth;
    if (Math.abs(edge) < 1) taps[k] = sinc(cutoff * x) * besselI0(KAISER_BETA * Math.sqrt(1 - edge * edge));
    sum += taps[k];
  }
  return taps.map((tap) => tap / sum);
}

/** @type {(a: number, b: number) => number} */
const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** @param {number} x */
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/**
 * Modified Bessel function of the first kind, order 0, by its series.
 * @param {number} x
 */
function besselI0(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-9 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
