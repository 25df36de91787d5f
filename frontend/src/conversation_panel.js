// SPDX-License-Identifier: Apache-2.0
// The page's group "Conversation": gaze at the pointer, emotion, head gestures, texts to say, and listening.
import { makeButton, makeGroup, makeInput, makeNumberInput, makeRow, makeSelect } from './form_elements.js';

/** @type {Record<import('./player.js').Player['dialogueState'], string>} */
const SPEAKERS = {
  idle: 'nobody speaks',
  listening: 'you speak',
  speaking: 'the face speaks',
  overlap: 'both speak',
};

export class ConversationPanel {
  #emotion = '';
  #strength = 1;

  /**
   * @param {HTMLDetailsElement} root the group
   * @param {import('./player.js').Player} player
   * @param {(emotion: string) => void} setEmotion sets the control, such as to "happy:0.8"
   * @param {(x: number, y: number) => number[]} pointAt what the face looks at for a place of the window, pixels
   */
  constructor(root, player, setEmotion, pointAt) {
    this.root = root;
    this.player = player;
    this.setEmotion = setEmotion;
    this.follow = makeInput('checkbox', 'follow');
    this.follow.checked = !matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.follow.addEventListener('change', () => {
      if (!this.follow.checked) player.lookAt(null);
    });
    for (const type of /** @type {const} */ (['pointermove', 'pointerdown'])) {
      window.addEventListener(type, ({ clientX, clientY }) => {
        if (this.follow.checked && !root.hidden) player.lookAt(pointAt(clientX, clientY));
      });
    }
    this.listen = makeButton('Listen', 'the face attends to your voice instead of repeating it');
    this.listen.id = 'listen';
    this.listen.addEventListener('click', () => {
      if (player.partnerAudio) player.stopListening();
      else player.startListening();
    });
    this.speaker = document.createElement('output');
    this.speaker.id = 'speaker';
    this.speaker.setAttribute('aria-live', 'off'); // it changes with every phrase
  }

  /**
   * Build the group of what the server offers.
   * @param {import('./player.js').ServerInfo} info
   */
  build({ controls, gestures = [], say }) {
    const { emotion } = controls;
    const rows = [
      ...(gestures.length ? [makeRow('Eyes', 'they follow the pointer', this.follow, 'follow the pointer')] : []),
      ...(emotion?.kind === 'choice' ? this.#emotionRows(emotion) : []),
      ...(gestures.length ? [this.#gestureRow(gestures)] : []),
      ...(say ? [this.#sayForm()] : []),
      ...(gestures.length ? [makeGroup('Listening', this.listen, this.speaker)] : []),
    ];
    this.root.hidden = !rows.length;
    this.root.replaceChildren(...this.root.querySelectorAll('summary'), ...rows);
    this.update();
  }

  /** Show who speaks, and whether the face listens. */
  update() {
    const { partnerAudio, dialogueState } = this.player;
    this.listen.setAttribute('aria-pressed', String(partnerAudio !== null));
    this.speaker.textContent = SPEAKERS[dialogueState];
  }

  /** @param {import('./controls_panel.js').ChoiceSpec} spec */
  #emotionRows(spec) {
    const select = makeSelect(spec.choices, this.#emotion || spec.default);
    const slider = makeNumberInput('range', { kind: 'number', low: 0, high: 1, default: 1 }, this.#strength);
    const output = document.createElement('output');
    select.name = 'emotion';
    slider.name = 'strength';
    const show = () => {
      output.textContent = this.#strength.toFixed(2);
    };
    const onInput = () => {
      this.#emotion = select.value;
      this.#strength = Number(slider.value);
      show();
      this.setEmotion(`${this.#emotion}:${this.#strength}`);
    };
    select.addEventListener('change', onInput);
    slider.addEventListener('input', onInput);
    show();
    return [
      makeRow('Emotion', 'shown while speaking and silent; closed lips stay closed', select),
      makeRow('Strength', 'of the emotion', slider, output),
    ];
  }

  /** @param {string[]} names */
  #gestureRow(names) {
    const buttons = names.map((name) => {
      const button = makeButton(name[0].toUpperCase() + name.slice(1), '');
      button.name = name;
      button.addEventListener('click', () => this.player.gesture({ name }));
      return button;
    });
    return makeGroup('Head gestures', ...buttons);
  }

  #sayForm() {
    const form = document.createElement('form');
    const text = makeInput('text', 'text');
    Object.assign(text, { maxLength: 2000, placeholder: 'a text to say', autocomplete: 'off' });
    text.setAttribute('aria-label', 'text to say');
    form.id = 'say';
    form.append(text, makeButton('Say', '', 'submit'));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (text.value.trim()) this.player.say(text.value);
    });
    return form;
  }
}
