// SPDX-License-Identifier: Apache-2.0
// The message over the face.
import { element } from './elements.js';

const ERROR_DISPLAY_MS = 7000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Show a message over the face; "" hides it.
 * @param {string} message
 * @param {boolean} [isError]
 * @param {boolean} [isTransient] whether an error disappears after a while
 */
export function showStatus(message, isError = false, isTransient = true) {
  const status = element('status');
  status.textContent = message;
  status.className = message ? `on${isError ? ' bad' : ''}` : '';
  clearTimeout(timer);
  if (isError && isTransient) timer = setTimeout(() => showStatus(''), ERROR_DISPLAY_MS);
}
