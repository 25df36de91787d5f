// SPDX-License-Identifier: Apache-2.0
// The bundled audio worklet as text: see build.mjs.
declare module 'worklet:delay-line' {
  const source: string;
  export default source;
}
