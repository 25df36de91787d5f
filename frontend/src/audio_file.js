// SPDX-License-Identifier: Apache-2.0
// Reader of audio files. Size and duration are checked before a file is read; reading reports its progress, and all of
// it can be cancelled.

const MAX_FILE_BYTES = 64e6;
const MAX_FILE_SECONDS = 1800;
const HEADER_BYTES = 65536; // in which a WAV or FLAC file states its sample rate and duration
const USUAL_SAMPLE_RATE = 48000; // Hz, at which files are decoded that do not state theirs at the beginning
const METADATA_MS = 5000; // for the browser to find the duration of another file
const RIFF = 0x52494646;
const WAVE = 0x57415645;
const FORMAT_CHUNK = 0x666d7420; // "fmt "
const DATA_CHUNK = 0x64617461;
const FLAC = 0x664c6143;

/** @typedef {(fraction: number) => void} OnProgress fraction of the file that has been read; 1: it is being decoded */
/** @typedef {{sampleRate?: number, duration?: number}} AudioHeader Hz, s; undefined where the file does not say */

/**
 * Read and decode an audio file.
 * @param {Blob} file in any format that the browser reads
 * @param {string} name for messages
 * @param {AbortSignal} signal cancels it; its reason is thrown
 * @param {OnProgress} onProgress
 * @returns {Promise<AudioBuffer>} at the file's own sample rate, if it is a WAV or FLAC file
 * @throws {Error} if the file is too large or too long, or no audio
 */
export async function readAudioFile(file, name, signal, onProgress) {
  if (file.size > MAX_FILE_BYTES) {
    throw new Error(`${name} has ${Math.round(file.size / 1e6)} MB: give at most ${MAX_FILE_BYTES / 1e6}`);
  }
  const header = parseHeader(new DataView(await file.slice(0, HEADER_BYTES).arrayBuffer()), file.size);
  checkDuration(header.duration ?? (await cancellable(readMetadata(file), signal)), name);
  const bytes = await readBytes(file, signal, onProgress);
  const decoder = new OfflineAudioContext(1, 1, header.sampleRate ?? USUAL_SAMPLE_RATE);
  const buffer = await cancellable(decoder.decodeAudioData(bytes).catch(() => null), signal);
  if (!buffer) throw new Error(`${name} is not audio that this browser can decode: convert it to WAV`);
  checkDuration(buffer.duration, name);
  return buffer;
}

/**
 * @param {number} duration s; NaN: unknown
 * @param {string} name
 */
function checkDuration(duration, name) {
  if (!(duration > MAX_FILE_SECONDS)) return;
  throw new Error(`${name} lasts ${Math.round(duration / 60)} min: give at most ${MAX_FILE_SECONDS / 60}`);
}

/**
 * @param {Blob} file
 * @param {AbortSignal} signal
 * @param {OnProgress} onProgress
 * @returns {Promise<ArrayBuffer>}
 */
async function readBytes(file, signal, onProgress) {
  const bytes = new Uint8Array(file.size);
  const reader = file.stream().getReader();
  for (let read = 0; ; ) {
    const { done, value } = await cancellable(reader.read(), signal);
    if (done) return bytes.buffer;
    bytes.set(value, read);
    read += value.length;
    onProgress(read / file.size);
  }
}

/**
 * Duration that the browser finds in the file's metadata.
 * @param {Blob} file
 * @returns {Promise<number>} s; NaN: unknown
 */
async function readMetadata(file) {
  const audio = new Audio();
  audio.preload = 'metadata';
  const url = URL.createObjectURL(file);
  try {
    return await new Promise((resolve) => {
      audio.onloadedmetadata = () => resolve(audio.duration);
      audio.onerror = () => resolve(NaN);
      setTimeout(() => resolve(NaN), METADATA_MS);
      audio.src = url;
    });
  } finally {
    audio.removeAttribute('src');
    URL.revokeObjectURL(url);
  }
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} signal
 * @returns {Promise<T>} rejects with the signal's reason once it is aborted
 */
function cancellable(promise, signal) {
  return new Promise((resolve, reject) => {
    const cancel = () => reject(signal.reason);
    if (signal.aborted) cancel();
    signal.addEventListener('abort', cancel);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', cancel));
  });
}

/**
 * Sample rate, at which the browser need not resample the file, and duration of a WAV or FLAC file.
 * @param {DataView} view of its beginning
 * @param {number} size of the file, bytes
 * @returns {AudioHeader}
 */
function parseHeader(view, size) {
  /** @param {number} offset */
  const uint32 = (offset) => (offset + 4 <= view.byteLength ? view.getUint32(offset) : 0);
  let rate = 0;
  let duration = NaN;
  if (uint32(0) === RIFF && uint32(8) === WAVE) {
    let bytesPerSecond = 0;
    for (let offset = 12; offset + 20 <= view.byteLength; offset += 8 + view.getUint32(offset + 4, true)) {
      if (uint32(offset) === FORMAT_CHUNK) {
        rate = view.getUint32(offset + 12, true);
        bytesPerSecond = view.getUint32(offset + 16, true);
      } else if (uint32(offset) === DATA_CHUNK) {
        duration = Math.min(view.getUint32(offset + 4, true), size - offset - 8) / bytesPerSecond;
      }
    }
  } else if (uint32(0) === FLAC && view.byteLength >= 26) {
    rate = uint32(18) >>> 12; // of STREAMINFO
    duration = ((view.getUint8(21) % 16) * 2 ** 32 + uint32(22)) / rate || NaN;
  }
  return {
    sampleRate: rate >= 8000 && rate <= 96000 ? rate : undefined,
    duration: Number.isFinite(duration) ? duration : undefined,
  };
}
