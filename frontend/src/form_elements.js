// SPDX-License-Identifier: Apache-2.0
// Form elements of the page's panels.

/** @typedef {import('./controls_panel.js').NumberSpec} NumberSpec */

/**
 * A label with its control.
 * @param {string} label
 * @param {string} tooltip
 * @param {(HTMLElement | string)[]} elements
 */
export function makeRow(label, tooltip, ...elements) {
  const row = document.createElement('label');
  const text = document.createElement('span');
  text.textContent = label;
  row.title = tooltip;
  row.append(text, ...elements);
  return row;
}

/**
 * @param {string[]} choices
 * @param {string} value
 */
export function makeSelect(choices, value) {
  const select = document.createElement('select');
  for (const choice of choices) select.append(new Option(choice, choice, choice === value, choice === value));
  return select;
}

/**
 * A slider, or a field for a number.
 * @param {'range' | 'number'} type
 * @param {NumberSpec} spec
 * @param {number} value
 */
export function makeNumberInput(type, spec, value) {
  const input = document.createElement('input');
  const step = spec.kind === 'whole' ? '1' : '0.05';
  Object.assign(input, { type, min: spec.low, max: spec.high, step, value });
  return input;
}

/**
 * @param {'checkbox' | 'text'} type
 * @param {string} name
 */
export function makeInput(type, name) {
  const input = document.createElement('input');
  Object.assign(input, { type, name });
  return input;
}

/**
 * @param {string} label
 * @param {HTMLElement[]} elements
 */
export function makeGroup(label, ...elements) {
  const group = document.createElement('div');
  group.setAttribute('role', 'group');
  group.setAttribute('aria-label', label);
  group.append(...elements);
  return group;
}

/**
 * @param {string} label
 * @param {string} tooltip
 * @param {'button' | 'submit'} [type]
 */
export function makeButton(label, tooltip, type = 'button') {
  const button = document.createElement('button');
  Object.assign(button, { type, textContent: label, title: tooltip });
  return button;
}
