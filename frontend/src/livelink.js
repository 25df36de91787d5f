// SPDX-License-Identifier: Apache-2.0
// Writer of Live Link Face CSV files, equal to face/formats/livelink.py: the app swaps left and right of jaw and mouth
// against Apple's names; yaw, pitch and roll of head and eyes are in radians; the timecode counts sixtieths of a second,
// whatever the frame rate.

/** @type {Record<string, string>} */
const SWAPPED_NAMES = {
  jawLeft: 'jawRight',
  jawRight: 'jawLeft',
  mouthLeft: 'mouthRight',
  mouthRight: 'mouthLeft',
};
const MAX_EYE_ANGLE = Math.PI / 6; // of an eye-look shape at weight 1
const TIMECODE_RATE = 60; // frames of the timecode in a second

/** @typedef {import('./timeline.js').Pose & {time: number}} TimedPose time in s */

/**
 * Encode face motion. Each row's timecode is the frame's own time after the first frame's, so that frames that were
 * dropped leave a gap.
 * @param {TimedPose[]} frames in the order of their times
 * @param {string[]} names of the weights
 * @returns {string} the file's text
 */
export function encodeLiveLinkCsv(frames, names) {
  const columns = names.map((name) => SWAPPED_NAMES[name] || name);
  const indices = new Map(names.map((name, index) => [name, index]));
  const angles = ['Head', 'LeftEye', 'RightEye'].flatMap((bone) =>
    ['Yaw', 'Pitch', 'Roll'].map((angle) => bone + angle),
  );
  /** @type {(string | number)[][]} */
  const rows = [
    ['Timecode', 'BlendShapeCount', ...columns.map((name) => name[0].toUpperCase() + name.slice(1)), ...angles],
  ];
  frames.forEach(({ weights, head, time }) => {
    /** @param {string} name */
    const weight = (name) => weights[indices.get(name) ?? -1];
    /** @type {(positive: string, negative: string) => number} */
    const eyeAngle = (positive, negative) =>
      MAX_EYE_ANGLE * (weight(`eyeLook${positive}`) - weight(`eyeLook${negative}`));
    const values = [
      ...columns.map(weight),
      ...quaternionToEuler(head),
      eyeAngle('OutLeft', 'InLeft'),
      eyeAngle('DownLeft', 'UpLeft'),
      0,
      eyeAngle('InRight', 'OutRight'),
      eyeAngle('DownRight', 'UpRight'),
      0,
    ];
    rows.push([timecode(time - frames[0].time), values.length, ...values.map((value) => value.toFixed(8))]);
  });
  return rows.map((row) => row.join(',')).join('\r\n') + '\r\n';
}

/**
 * hh:mm:ss:ff.fff
 * @param {number} time s
 */
function timecode(time) {
  const total = Math.round(time * TIMECODE_RATE * 1000);
  const second = Math.floor(total / (TIMECODE_RATE * 1000));
  const milliframes = total - second * TIMECODE_RATE * 1000;
  /** @param {number} value */
  const twoDigits = (value) => String(value).padStart(2, '0');
  return (
    `${twoDigits(Math.floor(second / 3600) % 24)}:${twoDigits(Math.floor(second / 60) % 60)}:${twoDigits(second % 60)}:` +
    `${twoDigits(Math.floor(milliframes / 1000))}.${String(milliframes % 1000).padStart(3, '0')}`
  );
}

/**
 * Yaw, pitch and roll in radians of a quaternion xyzw of any length.
 * @param {Float32Array} quaternion
 */
function quaternionToEuler(quaternion) {
  const length = Math.hypot(...quaternion);
  const [x, y, z, w] = Array.from(quaternion, (value) => value / length);
  return [
    Math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
    Math.asin(Math.max(-1, Math.min(1, 2 * (w * y - z * x)))),
    Math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
  ];
}
