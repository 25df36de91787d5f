// SPDX-License-Identifier: Apache-2.0
// Face motion as the CSV of the Live Link Face app, as face/formats/livelink.py writes it: the app swaps left and right of jaw
// and mouth against Apple's names; yaw, pitch, roll of head and eyes in radians.
const SWAPPED = { jawLeft: 'jawRight', jawRight: 'jawLeft', mouthLeft: 'mouthRight', mouthRight: 'mouthLeft' };
const EYE = Math.PI / 6; // of an eye-look shape at 1

export function livelink(frames, names, rate) {
  const order = names.map((name) => SWAPPED[name] || name),
    place = new Map(names.map((name, i) => [name, i]));
  const angles = ['Head', 'LeftEye', 'RightEye'].flatMap((part) =>
    ['Yaw', 'Pitch', 'Roll'].map((angle) => part + angle),
  );
  const rows = [
    ['Timecode', 'BlendShapeCount', ...order.map((name) => name[0].toUpperCase() + name.slice(1)), ...angles],
  ];
  frames.forEach(({ weights, head }, index) => {
    const at = (name) => weights[place.get(name)],
      gaze = (more, less) => EYE * (at(`eyeLook${more}`) - at(`eyeLook${less}`));
    const values = [
      ...order.map(at),
      ...euler(head),
      gaze('OutLeft', 'InLeft'),
      gaze('DownLeft', 'UpLeft'),
      0,
      gaze('InRight', 'OutRight'),
      gaze('DownRight', 'UpRight'),
      0,
    ];
    rows.push([timecode(index, rate), values.length, ...values.map((value) => value.toFixed(8))]);
  });
  return rows.map((row) => row.join(',')).join('\r\n') + '\r\n';
}

function timecode(index, rate) {
  const second = Math.floor(index / rate + 1e-9),
    part = Math.round((index - second * rate) * 1000);
  const two = (value) => String(value).padStart(2, '0');
  return (
    `${two(Math.floor(second / 3600))}:${two(Math.floor(second / 60) % 60)}:${two(second % 60)}:` +
    `${two(Math.floor(part / 1000))}.${String(part % 1000).padStart(3, '0')}`
  );
}

function euler(q) {
  const n = Math.hypot(...q),
    [x, y, z, w] = Array.from(q, (value) => value / n);
  return [
    Math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
    Math.asin(Math.max(-1, Math.min(1, 2 * (w * y - z * x)))),
    Math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
  ];
}
