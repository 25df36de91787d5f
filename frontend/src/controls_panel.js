// SPDX-License-Identifier: Apache-2.0
// Panel of the model's controls, built from the server's description; changes are sent immediately.
import { makeNumberInput, makeRow, makeSelect } from './form_elements.js';

const SEND_INTERVAL_MS = 100;

/**
 * A control as the server describes it.
 * @typedef {{kind: 'choice', choices: string[], default: string}} ChoiceSpec
 * @typedef {{kind: 'number' | 'whole', low: number, high: number, default: number}} NumberSpec
 * @typedef {{kind: 'shapes', low: number, high: number, choices: string[], default: Record<string, number>}} ShapesSpec
 * @typedef {ChoiceSpec | NumberSpec | ShapesSpec} ControlSpec
 */

/** @type {Record<string, [label: string, tooltip: string]>} */
const LABELS = {
  style: ['Style', ''],
  mouth_expressiveness: ['Mouth', 'gain on mouth and jaw'],
  face_expressiveness: ['Brows and head', "gain on brows, cheeks and the head's turning"],
  liveliness: ['Liveliness', 'nods, brows and posture that go with the voice'],
  asymmetry: ['Asymmetry', "how unequally the mouth's corners move; 1 as people's"],
  guidance: ['Guidance', 'scale of classifier-free guidance on the audio; 1 is off'],
  steps: ['Diffusion steps', 'per frame'],
  seed: ['Seed', 'other blinks, brows and nods, from the next start on'],
};
const ORDER = [
  'style',
  'liveliness',
  'mouth_expressiveness',
  'face_expressiveness',
  'asymmetry',
  'guidance',
  'steps',
  'seed',
];

const INITIAL_SHAPE_WEIGHT = 0.3;

export class ControlsPanel {
  /** @type {Record<string, any>} */
  #pendingChanges = {};
  #isSendScheduled = false;

  /**
   * @param {HTMLElement} root
   * @param {(changes: Record<string, any>) => void} onChange called with {name: value}
   */
  constructor(root, onChange) {
    this.root = root;
    this.onChange = onChange;
    /** @type {Record<string, any>} */
    this.values = {};
    /** @type {Record<string, number>} */
    this.expression = {};
  }

  /**
   * Build the panel. Values that have been set before are kept.
   * @param {Record<string, ControlSpec>} controls
   */
  build(controls) {
    this.root.replaceChildren();
    for (const name of ORDER) {
      const spec = controls[name];
      if (!spec) continue;
      if (spec.kind === 'choice') this.#addChoice(name, spec);
      else if (spec.kind !== 'shapes') this.#addNumber(name, spec);
    }
    if (controls.expression?.kind === 'shapes') this.#addExpression(controls.expression);
  }

  /**
   * Set a value. A slider that is dragged changes with every image: changes are sent ten times a second.
   * @param {string} name
   * @param {any} value
   */
  set(name, value) {
    this.values[name] = value;
    this.#pendingChanges[name] = value;
    if (this.#isSendScheduled) return;
    this.#isSendScheduled = true;
    setTimeout(() => {
      const changes = this.#pendingChanges;
      this.#pendingChanges = {};
      this.#isSendScheduled = false;
      this.onChange(changes);
    }, SEND_INTERVAL_MS);
  }

  /**
   * @param {string} name
   * @param {ChoiceSpec} spec
   */
  #addChoice(name, spec) {
    if (spec.choices.length < 2) return;
    const select = makeSelect(spec.choices, this.values[name] ?? spec.default);
    select.name = name;
    select.addEventListener('change', () => this.set(name, select.value));
    this.root.append(makeRow(...LABELS[name], select, document.createElement('output')));
  }

  /**
   * @param {string} name
   * @param {NumberSpec} spec
   */
  #addNumber(name, spec) {
    const isSlider = name !== 'seed';
    const value = this.values[name] ?? spec.default;
    const input = makeNumberInput(isSlider ? 'range' : 'number', spec, value);
    const output = document.createElement('output');
    const show = () => {
      if (isSlider) output.textContent = spec.kind === 'whole' ? input.value : Number(input.value).toFixed(2);
    };
    input.name = name;
    input.addEventListener(isSlider ? 'input' : 'change', () => {
      if (!input.checkValidity()) return;
      this.set(name, Number(input.value));
      show();
    });
    onResetGesture(input, () => {
      input.value = String(spec.default);
      this.set(name, spec.default);
      show();
    });
    show();
    this.root.append(makeRow(...LABELS[name], input, output));
  }

  /** @param {ShapesSpec} spec */
  #addExpression(spec) {
    const shape = makeSelect(['add a shape …', ...spec.choices], '');
    const list = document.createElement('div');
    shape.name = 'shape';
    shape.setAttribute('aria-label', 'add a shape to the expression');
    list.className = 'shapes';
    const sendExpression = () => this.set('expression', { ...this.expression });
    const showShapes = () => {
      const rows = Object.entries(this.expression).map(([name, weight]) => {
        const input = makeNumberInput('range', { ...spec, kind: 'number', default: 0 }, weight);
        const output = document.createElement('output');
        output.textContent = weight.toFixed(2);
        input.addEventListener('input', () => {
          this.expression[name] = Number(input.value);
          output.textContent = Number(input.value).toFixed(2);
          sendExpression();
        });
        onResetGesture(input, () => {
          delete this.expression[name];
          sendExpression();
          showShapes();
          shape.focus();
        });
        return makeRow(name, 'a double click or the Delete key removes it', input, output);
      });
      list.replaceChildren(...rows);
    };
    shape.addEventListener('change', () => {
      if (spec.choices.includes(shape.value)) {
        this.expression[shape.value] ??= INITIAL_SHAPE_WEIGHT;
        sendExpression();
        showShapes();
      }
      shape.selectedIndex = 0;
    });
    this.root.append(makeRow('Shapes', 'added under the speech', shape), list);
    showShapes();
  }
}

/**
 * Call `reset` on a double click, and on the Delete key of a slider.
 * @param {HTMLInputElement} input
 * @param {() => void} reset
 */
function onResetGesture(input, reset) {
  input.addEventListener('dblclick', reset);
  if (input.type !== 'range') return;
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Delete') return;
    event.preventDefault();
    reset();
  });
}
