// SPDX-License-Identifier: Apache-2.0
// The WebSocket to the server: texts and bytes, both ways, and coming back by itself after it was cut.
import { unpack } from './protocol.js';

const FIRST_WAIT = 400,
  LONGEST_WAIT = 5000; // ms

export class Link {
  // on: {text(message), frame(message), up(), down(sentence)}.
  constructor(address, on) {
    Object.assign(this, { address, on, wait: FIRST_WAIT, got: 0, wanted: true });
    this._open();
    this.pulse = setInterval(() => this._seen(), 1000);
  }

  _open() {
    const socket = (this.socket = new WebSocket(this.address));
    socket.binaryType = 'arraybuffer';
    this.got = 0;
    this.last = null;
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (typeof data === 'string') return this._text(JSON.parse(data));
      this.got++;
      if (this.got % 16 === 0) this._seen();
      this.on.frame(unpack(data));
    };
    socket.onclose = () => {
      if (socket !== this.socket || !this.wanted) return;
      this.on.down(this.last || 'the server is not there: trying again');
      setTimeout(() => this.wanted && this._open(), this.wait);
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
    };
  }

  _text(message) {
    if (message.type === 'hello') {
      this.wait = FIRST_WAIT;
      this.up = true;
    }
    if (message.type === 'refused' || message.type === 'bye') {
      this.last = message.text;
      this.wait = LONGEST_WAIT;
    }
    this.on.text(message);
  }

  _seen() {
    this.send({ type: 'seen', count: this.got });
  }

  get open() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(message) {
    if (this.open) this.socket.send(JSON.stringify(message));
  }

  // Bytes that the network has not taken yet.
  get waiting() {
    return this.socket.bufferedAmount;
  }

  bytes(data) {
    if (this.open) this.socket.send(data);
  }
}
