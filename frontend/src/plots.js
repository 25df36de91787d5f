// SPDX-License-Identifier: Apache-2.0
// Live plots: the envelope of the audio with the lip gap over it, and a few weights as bars.

const PLOT_SECONDS = 4;
const ENVELOPE_RATE = 100; // points/s
const MAX_ENVELOPE_POINTS = 1200;
const MAX_LIP_POINTS = 600;
const MAX_LIP_GAP = 20; // mm, the height of the plot

/** @type {[label: string, shapes: string[]][]} */
const BARS = [
  ['jaw open', ['jawOpen']],
  ['lip press', ['mouthPressLeft', 'mouthPressRight']],
  ['funnel', ['mouthFunnel']],
  ['pucker', ['mouthPucker']],
  ['smile', ['mouthSmileLeft', 'mouthSmileRight']],
  ['lip down', ['mouthLowerDownLeft', 'mouthLowerDownRight']],
  ['brows up', ['browInnerUp']],
  ['blink', ['eyeBlinkLeft', 'eyeBlinkRight']],
];

export class Plots {
  /**
   * @param {HTMLCanvasElement} canvas of the curves
   * @param {HTMLElement} list element for the bars
   * @param {string[]} names of the weights
   */
  constructor(canvas, list, names) {
    this.canvas = canvas;
    /** @type {[number, number][]} */
    this.envelope = []; // [time in s, peak 0..1]
    /** @type {[number, number][]} */
    this.lipGaps = []; // [time in s, mm]
    this.bars = BARS.map(([label, shapes]) => {
      const row = document.createElement('div');
      const text = document.createElement('span');
      const track = document.createElement('b');
      const fill = document.createElement('i');
      text.textContent = label;
      track.append(fill);
      row.append(text, track);
      list.append(row);
      return { fill, indices: shapes.map((shape) => names.indexOf(shape)) };
    });
  }

  clear() {
    this.envelope.length = this.lipGaps.length = 0;
  }

  /**
   * @param {Int16Array} samples
   * @param {number} time of the first sample, s
   * @param {number} sampleRate Hz
   */
  addSamples(samples, time, sampleRate) {
    const step = Math.max(1, Math.round(sampleRate / ENVELOPE_RATE));
    for (let i = 0; i < samples.length; i += step) {
      let peak = 0;
      for (const value of samples.subarray(i, i + step)) peak = Math.max(peak, Math.abs(value));
      this.envelope.push([time + i / sampleRate, peak / 32768]);
    }
    if (this.envelope.length > MAX_ENVELOPE_POINTS) this.envelope.splice(0, 200);
  }

  /**
   * @param {number} time s
   * @param {number} gap mm
   */
  addLipGap(time, gap) {
    this.lipGaps.push([time, gap]);
    if (this.lipGaps.length > MAX_LIP_POINTS) this.lipGaps.splice(0, 100);
  }

  /**
   * @param {number} playbackTime right edge of the curves, s
   * @param {Float32Array} weights for the bars
   */
  draw(playbackTime, weights) {
    const { canvas } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    const context = canvas.getContext('2d');
    if (!width || !context) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    if (canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(canvas);
    context.fillStyle = style.getPropertyValue('--wave');
    context.strokeStyle = style.getPropertyValue('--accent');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#drawEnvelope(context, width, height, playbackTime);
    this.#drawLipGaps(context, width, height, playbackTime);
    for (const { fill, indices } of this.bars) {
      const mean = indices.reduce((sum, index) => sum + weights[index], 0) / indices.length;
      fill.style.transform = `scaleX(${Math.min(1, Math.max(0, mean)).toFixed(3)})`;
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   * @param {number} playbackTime
   */
  #drawEnvelope(context, width, height, playbackTime) {
    const middle = 0.42 * height;
    const barWidth = Math.max(1, width / PLOT_SECONDS / ENVELOPE_RATE - 0.3);
    for (const [time, peak] of this.envelope) {
      if (time < playbackTime - PLOT_SECONDS || time > playbackTime) continue;
      const half = Math.max(0.5, Math.min(1, 1.6 * peak) * 0.4 * height);
      context.fillRect(timeToX(time, playbackTime, width), middle - half, barWidth, 2 * half);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   * @param {number} playbackTime
   */
  #drawLipGaps(context, width, height, playbackTime) {
    context.lineWidth = 1.6;
    context.lineJoin = 'round';
    context.beginPath();
    for (const [time, gap] of this.lipGaps) {
      if (time < playbackTime - PLOT_SECONDS) continue;
      const y = height - 3 - Math.min(1, Math.max(0, gap) / MAX_LIP_GAP) * 0.9 * height;
      context.lineTo(timeToX(time, playbackTime, width), y); // the first one moves
    }
    context.stroke();
  }
}

/**
 * @param {number} time
 * @param {number} playbackTime
 * @param {number} width
 */
const timeToX = (time, playbackTime, width) => width * (1 + (time - playbackTime) / PLOT_SECONDS);
