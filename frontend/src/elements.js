// SPDX-License-Identifier: Apache-2.0
// The elements of index.html, by their ids.

/**
 * The element with an id.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found;
}

/** @param {string} id */
export const button = (id) => /** @type {HTMLButtonElement} */ (element(id));
/** @param {string} id */
export const input = (id) => /** @type {HTMLInputElement} */ (element(id));
/** @param {string} id */
export const select = (id) => /** @type {HTMLSelectElement} */ (element(id));
/** @param {string} id */
export const canvas = (id) => /** @type {HTMLCanvasElement} */ (element(id));
/** @param {string} id */
export const details = (id) => /** @type {HTMLDetailsElement} */ (element(id));
/** @param {string} id */
export const progress = (id) => /** @type {HTMLProgressElement} */ (element(id));
