// SPDX-License-Identifier: Apache-2.0
// WebSocket connection to the server, which reconnects with back-off and acknowledges frames.
import { decodeMessage } from './protocol.js';

const MIN_RETRY_MS = 400;
const MAX_RETRY_MS = 5000;
const ACKNOWLEDGE_INTERVAL_MS = 1000;
const ACKNOWLEDGE_EVERY = 16; // frames

const EXPLANATION_MS = 5000; // for the server to say why it does not accept the connection

/** @typedef {import('./protocol.js').Frame | import('./protocol.js').AudioMessage} BinaryMessage */

/**
 * @typedef {object} ConnectionCallbacks
 * @property {(message: any) => void} onTextMessage called with each JSON message
 * @property {(message: BinaryMessage) => void} onBinaryMessage called with each binary message
 * @property {(reason: string) => void} onClose called when the connection is lost
 * @property {boolean} [explains] whether to ask the server why it does not accept the connection
 */

export class Connection {
  /**
   * @param {string} url of the WebSocket
   * @param {ConnectionCallbacks} callbacks
   */
  constructor(url, callbacks) {
    this.url = url;
    this.callbacks = callbacks;
    this.retryMs = MIN_RETRY_MS;
    this.received = 0; // binary messages since the connection was opened
    /** @type {string | null} */
    this.closeReason = null;
    this.isClosed = false; // by `close`
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.retryTimer = undefined;
    this.socket = this.#open();
    this.acknowledgeTimer = setInterval(() => this.#acknowledge(), ACKNOWLEDGE_INTERVAL_MS);
  }

  /** Close the connection and do not connect again. */
  close() {
    this.isClosed = true;
    clearInterval(this.acknowledgeTimer);
    clearTimeout(this.retryTimer);
    this.socket.close();
  }

  /** Whether messages can be sent. */
  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  /** Bytes that are buffered and not sent yet. */
  get bufferedBytes() {
    return this.socket.bufferedAmount;
  }

  /**
   * Send a JSON message; dropped while the connection is not open.
   * @param {object} message
   */
  sendText(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
  }

  /**
   * Send a binary message; dropped while the connection is not open.
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  sendBinary(bytes) {
    if (this.isOpen) this.socket.send(bytes);
  }

  #open() {
    const socket = new WebSocket(this.url);
    let wasOpen = false;
    socket.binaryType = 'arraybuffer';
    this.received = 0;
    this.closeReason = null;
    socket.onopen = () => {
      wasOpen = true;
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket || this.isClosed) return;
      if (typeof data === 'string') {
        this.#onTextMessage(JSON.parse(data));
        return;
      }
      this.received++;
      if (this.received % ACKNOWLEDGE_EVERY === 0) this.#acknowledge();
      this.callbacks.onBinaryMessage(decodeMessage(data));
    };
    socket.onclose = async () => {
      if (socket !== this.socket || this.isClosed) return;
      let reason = this.closeReason;
      if (!reason && !wasOpen && this.callbacks.explains) reason = await this.#explain();
      if (this.isClosed) return;
      this.callbacks.onClose(reason || 'the server cannot be reached: trying again');
      this.retryTimer = setTimeout(() => {
        this.socket = this.#open();
      }, this.retryMs);
      this.retryMs = Math.min(2 * this.retryMs, MAX_RETRY_MS);
    };
    return socket;
  }

  /**
   * Why the server did not accept the connection, which a browser does not tell.
   * @returns {Promise<string | null>} null if there is no answer
   */
  async #explain() {
    try {
      const url = this.url.replace(/^ws/, 'http');
      const response = await fetch(url, { signal: AbortSignal.timeout(EXPLANATION_MS), cache: 'no-store' });
      return response.status === 401 || response.status === 403 ? (await response.text()).trim() : null;
    } catch {
      return null;
    }
  }

  /** @param {any} message */
  #onTextMessage(message) {
    if (message.type === 'hello') this.retryMs = MIN_RETRY_MS;
    if (message.type === 'refused' || message.type === 'bye') {
      this.closeReason = message.text;
      this.retryMs = MAX_RETRY_MS;
    }
    this.callbacks.onTextMessage(message);
  }

  #acknowledge() {
    this.sendText({ type: 'seen', count: this.received });
  }
}
