// SPDX-License-Identifier: Apache-2.0
// Compiled by `npm run check` only: the source is what the declarations say.
import type * as declared from 'streamingtalker-face/protocol';
import * as source from './src/protocol.js';

export const checked = source satisfies typeof declared;
