// SPDX-License-Identifier: Apache-2.0
// The controls of a voice, drawn from what the server says there is; each change is sent as it is made.
const EVERY = 100; // ms between two messages
const LABELS = {
  style: ['Style', ''],
  mouth_expressiveness: ['Mouth', 'gain on mouth and jaw'],
  face_expressiveness: ['Brows and head', "gain on brows, cheeks and the head's turning"],
  guidance: ['Guidance', 'how strictly the sound is followed; 1 is off'],
  steps: ['Diffusion steps', 'per frame'],
  seed: ['Seed', 'other blinks, brows and nods, from the next start on'],
};
const ORDER = ['style', 'mouth_expressiveness', 'face_expressiveness', 'guidance', 'steps', 'seed'];
const MOODS = {
  none: {},
  smile: { mouthSmileLeft: 0.5, mouthSmileRight: 0.5, cheekSquintLeft: 0.3, cheekSquintRight: 0.3 },
  sad: { mouthFrownLeft: 0.5, mouthFrownRight: 0.5, browInnerUp: 0.6 },
  stern: { browDownLeft: 0.7, browDownRight: 0.7, mouthPressLeft: 0.2, mouthPressRight: 0.2 },
  surprised: { browInnerUp: 0.6, browOuterUpLeft: 0.6, browOuterUpRight: 0.6, eyeWideLeft: 0.5, eyeWideRight: 0.5 },
};

export class Panel {
  // root: element; onchange: called with {name: value}.
  constructor(root, onchange) {
    Object.assign(this, { root, onchange, values: {}, mood: {} });
  }

  // controls: of hello. Keeps what has been chosen before.
  build(controls) {
    this.root.replaceChildren();
    for (const name of ORDER) {
      const spec = controls[name];
      if (!spec || (spec.kind === 'choice' && spec.choices.length < 2)) continue;
      const value = this.values[name] ?? spec.default,
        [label, hint] = LABELS[name];
      const input =
        spec.kind === 'choice'
          ? choice(spec.choices, value)
          : name === 'seed'
            ? whole(spec, value)
            : slider(spec, value);
      const shown = document.createElement('output');
      const show = () => {
        shown.textContent =
          spec.kind === 'choice' || name === 'seed'
            ? ''
            : spec.kind === 'whole'
              ? input.value
              : (+input.value).toFixed(2);
      };
      input.addEventListener(name === 'seed' || spec.kind === 'choice' ? 'change' : 'input', () => {
        const given = spec.kind === 'choice' ? input.value : Number(input.value);
        if (!input.checkValidity()) return;
        this.set(name, given);
        show();
      });
      if (spec.kind !== 'choice') {
        undone(input, () => {
          input.value = spec.default;
          this.set(name, spec.default);
          show();
        });
      }
      show();
      input.name = name;
      this.root.append(row(label, hint, input, shown));
    }
    if (controls.expression) this._expression(controls.expression);
  }

  _expression(spec) {
    const mood = choice(Object.keys(MOODS), 'none'),
      shape = choice(['add a shape …', ...spec.choices], ''),
      list = document.createElement('div');
    mood.name = 'mood';
    shape.name = 'shape';
    shape.setAttribute('aria-label', 'add a shape to the expression');
    list.className = 'shapes';
    const draw = () => {
      list.replaceChildren(
        ...Object.entries(this.mood).map(([name, value]) => {
          const input = slider({ low: spec.low, high: spec.high, kind: 'number' }, value),
            shown = document.createElement('output');
          shown.textContent = value.toFixed(2);
          input.addEventListener('input', () => {
            this.mood[name] = Number(input.value);
            shown.textContent = (+input.value).toFixed(2);
            this.set('expression', { ...this.mood });
          });
          undone(input, () => {
            delete this.mood[name];
            this.set('expression', { ...this.mood });
            draw();
            shape.focus();
          });
          return row(name, 'a double click or the Delete key removes it', input, shown);
        }),
      );
    };
    mood.addEventListener('change', () => {
      this.mood = { ...MOODS[mood.value] };
      this.set('expression', { ...this.mood });
      draw();
    });
    shape.addEventListener('change', () => {
      if (spec.choices.includes(shape.value)) {
        this.mood[shape.value] ??= 0.3;
        this.set('expression', { ...this.mood });
        draw();
      }
      shape.selectedIndex = 0;
    });
    this.root.append(row('Expression', 'added under the speech', mood), row('', '', shape), list);
    draw();
  }

  // A slider being dragged changes with every picture: the server hears of it ten times a second.
  set(name, value) {
    this.values[name] = value;
    this.changes = { ...this.changes, [name]: value };
    this.told ??= setTimeout(() => {
      const { changes } = this;
      this.changes = this.told = null;
      this.onchange(changes);
    }, EVERY);
  }
}

// A double click, or Delete on a slider: back to what it was without it.
function undone(input, undo) {
  input.addEventListener('dblclick', undo);
  if (input.type !== 'range') return;
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Delete') return;
    event.preventDefault();
    undo();
  });
}

function row(label, hint, ...inputs) {
  const out = document.createElement('label'),
    text = document.createElement('span');
  text.textContent = label;
  out.title = hint;
  out.append(text, ...inputs);
  return out;
}

function choice(choices, value) {
  const select = document.createElement('select');
  for (const each of choices) select.append(new Option(each, each, each === value, each === value));
  return select;
}

function slider(spec, value) {
  const input = document.createElement('input');
  Object.assign(input, {
    type: 'range',
    min: spec.low,
    max: spec.high,
    step: spec.kind === 'whole' ? 1 : 0.05,
    value,
  });
  return input;
}

function whole(spec, value) {
  const input = document.createElement('input');
  Object.assign(input, { type: 'number', min: spec.low, max: spec.high, step: 1, value });
  return input;
}
