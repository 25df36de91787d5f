// SPDX-License-Identifier: Apache-2.0
// Live plots: the sound's envelope with the opening of the lips over it, and a few weights as bars.
const SECONDS = 4;
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
  // canvas: of the curves; list: element for the bars; names: ARKit's 52.
  constructor(canvas, list, names) {
    this.canvas = canvas;
    this.envelope = []; // [time, peak 0..1]
    this.lips = []; // [time, mm]
    this.bars = BARS.map(([label, shapes]) => {
      const row = document.createElement('div'),
        fill = document.createElement('i'),
        text = document.createElement('span');
      text.textContent = label;
      row.append(text, document.createElement('b'));
      row.lastChild.append(fill);
      list.append(row);
      return { fill, places: shapes.map((shape) => names.indexOf(shape)) };
    });
  }

  clear() {
    this.envelope.length = this.lips.length = 0;
  }

  sound(samples, time, rate) {
    const step = Math.max(1, Math.round(rate / 100));
    for (let i = 0; i < samples.length; i += step) {
      let peak = 0;
      for (let k = i; k < Math.min(i + step, samples.length); k++) peak = Math.max(peak, Math.abs(samples[k]));
      this.envelope.push([time + i / rate, peak / 32768]);
    }
    if (this.envelope.length > 1200) this.envelope.splice(0, 200);
  }

  lip(time, gap) {
    this.lips.push([time, gap]);
    if (this.lips.length > 600) this.lips.splice(0, 100);
  }

  draw(heard, weights) {
    const { canvas } = this,
      ratio = Math.min(2, devicePixelRatio || 1),
      width = canvas.clientWidth,
      height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const x = (time) => width * (1 + (time - heard) / SECONDS),
      middle = 0.42 * height;
    pen.fillStyle = '#7d8794';
    for (const [time, peak] of this.envelope) {
      if (time < heard - SECONDS || time > heard) continue;
      const tall = Math.max(0.5, Math.min(1, 1.6 * peak) * 0.4 * height);
      pen.fillRect(x(time), middle - tall, Math.max(1, width / SECONDS / 100 - 0.3), 2 * tall);
    }
    pen.strokeStyle = '#e8a27c';
    pen.lineWidth = 1.6;
    pen.lineJoin = 'round';
    pen.beginPath();
    let down = false;
    for (const [time, gap] of this.lips) {
      if (time < heard - SECONDS) continue;
      pen[down ? 'lineTo' : 'moveTo'](x(time), height - 3 - Math.min(1, Math.max(0, gap) / 20) * 0.9 * height);
      down = true;
    }
    pen.stroke();
    if (!weights) return;
    for (const { fill, places } of this.bars) {
      const value = places.reduce((sum, place) => sum + weights[place], 0) / places.length;
      fill.style.transform = `scaleX(${Math.min(1, Math.max(0, value)).toFixed(3)})`;
    }
  }
}
