// SPDX-License-Identifier: Apache-2.0
// Types of the messages between the page (audio_io.js) and the audio worklet (delay-line-worklet.js).

/**
 * Start a new line. Delay in samples; `startFrame`: context frame of position 0, a multiple of 128, by default the next
 * block; `sendRate`: rate in Hz of additional chunks for the server, by default none.
 * @typedef {{command: 'begin', external: boolean, delay: number, startFrame?: number, sendRate?: number}} BeginCommand
 */

/**
 * Change the delay by `samples`: by playing a little faster or slower (slew, samples per sample); by holding in
 * silence, so that no audio is repeated; or at once, with a short cross-fade (slew 0).
 * @typedef {{command: 'delay', samples: number, slew: number, hold: boolean}} DelayCommand
 */

/**
 * Play no further than a position; null: no limit.
 * @typedef {{command: 'limit', position: number | null}} LimitCommand
 */

/**
 * Write samples of an external source.
 * @typedef {{command: 'write', position: number, samples: Int16Array}} WriteCommand
 */

/**
 * Report what is played, or not.
 * @typedef {{command: 'record', enabled: boolean}} RecordCommand
 */

/** @typedef {BeginCommand | DelayCommand | LimitCommand | WriteCommand | RecordCommand | {command: 'stop'}} WorkletCommand */

/**
 * A chunk for the server; position in samples of its rate.
 * @typedef {{kind: 'resampled', position: number, samples: Int16Array}} ResampledChunk
 */

/**
 * A chunk of the input (null with an external source), and what is played. `end`: position after the chunk; delay in
 * samples. `played`: samples that leave the line in these blocks, of which the first is in `frame` of the context; null
 * unless they are recorded.
 * @typedef {object} WorkletReport
 * @property {'report'} kind
 * @property {number} position
 * @property {number} end
 * @property {number} startFrame
 * @property {number} delay
 * @property {Int16Array | null} samples
 * @property {Int16Array | null} played
 * @property {number} frame
 */

export {};
