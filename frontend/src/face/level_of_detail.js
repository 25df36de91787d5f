// SPDX-License-Identifier: Apache-2.0
// How finely and how often a face is drawn, in levels; lowered by itself where pictures come too slowly.
export const LEVELS = {
  high: { shadows: true, fine: true, plain: false, ratio: 2 },
  medium: { shadows: true, fine: false, plain: false, ratio: 1.25 },
  low: { shadows: false, fine: false, plain: true, ratio: 1 },
  lowest: { shadows: false, fine: false, plain: true, ratio: 0.6 },
};
const ORDER = Object.keys(LEVELS),
  SLOW = 34,
  PATIENCE = 2500; // ms between pictures, ms for which they are

export class Detail {
  // wish: a level, or "auto"; onchange: called with the level's settings.
  constructor(wish, onchange) {
    this.onchange = onchange;
    // Without a graphics card, drawing takes the processor from the model and the sound: every second animation frame.
    this.every = byProcessor() ? 2 : 1;
    this.set(wish in LEVELS ? wish : 'auto');
  }

  set(wish) {
    this.wish = wish;
    this.level = wish === 'auto' ? this.first : wish;
    this.slow = 0;
    this.onchange(this.settings);
  }

  // Telephones begin lower, processors without a graphics card lower still.
  get first() {
    if (this.every > 1) return 'low';
    return matchMedia('(max-width: 820px)').matches ? 'medium' : 'high';
  }

  get settings() {
    return LEVELS[this.level];
  }

  // A picture came `ms` after the one before.
  picture(ms) {
    if (this.wish !== 'auto' || ms > 1000) return;
    this.slow = ms > SLOW ? this.slow + ms : Math.max(0, this.slow - 2 * ms);
    const next = ORDER[ORDER.indexOf(this.level) + 1];
    if (this.slow < PATIENCE || !next) return;
    this.level = next;
    this.slow = 0;
    this.onchange(this.settings);
  }
}

function byProcessor() {
  const gl = document.createElement('canvas').getContext('webgl2'),
    info = gl?.getExtension('WEBGL_debug_renderer_info');
  const name = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : '';
  gl?.getExtension('WEBGL_lose_context')?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}
