// SPDX-License-Identifier: Apache-2.0
// The same in TypeScript, with the types of the npm package `streamingtalker-face`.
import { TalkingFaceElement, type TalkingFaceFrame, type TalkingFaceState } from 'streamingtalker-face';
import { AUDIO, FACE, decodeMessage, encodePcm } from 'streamingtalker-face/protocol';

const face: TalkingFaceElement = document.createElement('talking-face');
face.src = 'wss://face.example/';
face.token = 'a token';
face.face = 'avatar.glb';
face.background = 'transparent';
face.muted = false;
face.addEventListener('ready', ({ detail }) => console.log(detail.model, detail.names.length, detail.frameRate));
face.addEventListener('state', ({ detail }) => showState(detail.state));
face.addEventListener('error', ({ detail }) => console.error(detail.message));
face.addEventListener('frame', ({ detail }) => follow(detail));
document.body.append(face);

/** Speak a file that the user chose; another one stops it. */
export async function speakFile(file: File): Promise<boolean> {
  return face.speak(file);
}

/** Speak the other side of a call. */
export function speakCall(stream: MediaStream): Promise<boolean> {
  face.set({ mouth_expressiveness: 1.2 });
  return face.speak(stream, { silent: false });
}

/** Say a text, by the server's text-to-speech command. */
export function sayText(text: string): Promise<boolean> {
  return face.say(text);
}

/** Be a partner in conversation: look at somebody, smile for a while, nod. */
export function greet(visitor: [number, number, number]): void {
  face.lookAt(visitor);
  face.express('happy', { strength: 0.6, decay: 4 });
  face.gesture('nod', { count: 1 });
}

function showState(state: TalkingFaceState): void {
  document.title = `${state}, ${face.stats.late} frames late`;
}

function follow({ time, weights, head }: TalkingFaceFrame): void {
  const jawOpen = weights?.[face.names.indexOf('jawOpen')];
  if (jawOpen !== undefined && head !== null) console.log(time, jawOpen, head[3]);
}

/** Without the element: the protocol alone. */
export function talk(samples: Int16Array): WebSocket {
  const socket = new WebSocket('ws://localhost:8080/socket?version=1');
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => {
    socket.send(JSON.stringify({ type: 'start', epoch: 1, rate: 16000 }));
    socket.send(encodePcm(1, samples));
  };
  socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === 'string') return;
    const message = decodeMessage(data);
    if (message.kind === FACE) console.log(message.time, message.weights[0]);
    else if (message.kind === AUDIO) console.log(message.samples.length);
  };
  return socket;
}

// @ts-expect-error: a sound is no address
face.speak('voice.wav');
// @ts-expect-error: no such event
face.addEventListener('ready', ({ detail }: CustomEvent<string>) => detail);
