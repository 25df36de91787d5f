// SPDX-License-Identifier: Apache-2.0
// Choice of the face: those of the server, the people whose heads it has, and files of the user.
import { select } from './elements.js';
import { checkFileSize } from './face/glb_document.js';
import { showStatus } from './status.js';

const MAX_NAMED = 6; // shapes that a message names
const PERSON = 'person:'; // before a person's name in the values of the choice

export class FaceChoice {
  /** @type {string[]} */
  #people = []; // whose heads the server has

  /** @param {import('./face_view.js').FaceView} view */
  constructor(view) {
    this.view = view;
    this.element = select('face-choice');
    this.element.onchange = () => this.#choose(this.element.value);
    view.onFaceChange = () => this.update();
    this.#fetchPeople();
  }

  /** Show which faces there are, and which one is shown. */
  update() {
    const { faces, shownFace } = this.view;
    /** @type {[value: string, label: string | undefined][]} */
    const options = [
      ['default', faces.default && 'default head'],
      ['template', faces.template && "the model's own"],
      ['avatar', faces.avatar?.name],
    ];
    for (const name of this.#people) if (name !== faces.avatar?.name) options.push([PERSON + name, name]);
    this.element.replaceChildren(
      ...options.flatMap(([value, label]) => (label ? [new Option(label, value, false, value === shownFace)] : [])),
    );
    this.element.disabled = false;
  }

  /**
   * Show a file of the user, and say for which shapes it does not move.
   * @param {File} file
   */
  async openFile(file) {
    const name = file.name.slice(0, 60);
    const isShown = await this.#show(name, () => {
      checkFileSize(file.size);
      return file.arrayBuffer();
    });
    if (!isShown) return;
    const { missing = [] } = this.view.faces.avatar ?? {};
    const more = missing.length > MAX_NAMED ? ` and ${missing.length - MAX_NAMED} more` : '';
    showStatus(missing.length ? `${name} does not move for ${missing.slice(0, MAX_NAMED).join(', ')}${more}` : '', true);
  }

  async #fetchPeople() {
    const response = await fetch('/faces.json').catch(() => null);
    if (response?.ok) this.#people = await response.json();
    this.update();
  }

  /** @param {string} value of the choice */
  async #choose(value) {
    if (!value.startsWith(PERSON)) {
      this.view.show(/** @type {import('./face_view.js').FaceName} */ (value));
      return;
    }
    const name = value.slice(PERSON.length);
    await this.#show(name, async () => {
      const response = await fetch(`/faces/${name}.glb`);
      if (!response.ok) throw new Error(`the face ${name} could not be fetched (${response.status})`);
      return response.arrayBuffer();
    });
  }

  /**
   * @param {string} name
   * @param {() => Promise<ArrayBuffer>} read a GLB file
   * @returns {Promise<boolean>} whether the face is shown
   */
  async #show(name, read) {
    try {
      await this.view.openAvatar(await read(), name);
      return true;
    } catch (error) {
      showStatus(/** @type {Error} */ (error).message, true);
      this.update();
      return false;
    }
  }
}
