// SPDX-License-Identifier: Apache-2.0
// The page's elements: buttons, files, plots and numbers, joined to what they do. `?detail=high`, medium, low or lowest
// in the address draws so, whatever it costs.
import { Numbers } from './stats_view.js';
import { Page } from './app.js';
import { Panel } from './panel.js';
import { Picture } from './face_view.js';
import { Plots } from './plots.js';
import { LONGEST } from './recorder.js';

const MOST_BYTES = 96e6;
const $ = (id) => document.getElementById(id);
let page, picture, panel, plots, numbers, quiet;

function start() {
  picture = new Picture($('face'), new URLSearchParams(location.search).get('detail') || 'auto', looks);
  page = new Page(picture, {
    hello,
    say,
    changed,
    files,
    sound: (samples, time, rate) => plots?.sound(samples, time, rate),
    frame: ({ time, weights }) => weights && plots?.lip(time, picture.gap(weights)),
    clear: () => plots?.clear(),
  });
  panel = new Panel($('controls'), (changes) => page.link.send({ type: 'set', ...changes }));
  page.values = () => panel.values;
  window.talk = page; // for tests, measurements and the curious
  return picture.load();
}

function hello(message) {
  plots ||= page.plots = new Plots($('curves'), $('bars'), message.names);
  numbers ||= new Numbers($('numbers'));
  panel.build(message.controls);
  $('model').textContent = `${message.model} · ${message.device}`;
  $('facts').textContent =
    `${message.frame_rate} frames/s, look-ahead ${Math.round(1000 * message.lookahead)} ms; version ` +
    `${message.version}. Nothing that you open or record leaves this browser but the sound, to this server.`;
  looks();
  changed();
}

function draw(now) {
  requestAnimationFrame(draw);
  const { timeline, sound } = page;
  picture.draw(now, timeline, !!timeline && timeline.clock === sound.clock);
  if (plots && now - (plots.drawnAt || 0) > 45) {
    plots.drawnAt = now;
    plots.draw(timeline ? timeline.clock.heard(now) : 0, picture.now.weights);
    const share = page.source === 'file' ? Math.min(1, Math.max(0, page.heard / sound.duration)) : 0;
    $('progress').firstElementChild.style.transform = `scaleX(${share})`;
  }
  if (numbers && now - (numbers.shownAt || 0) > 400) {
    numbers.shownAt = now;
    numbers.show(page);
  }
  if (page.over) page.stop();
  if (page.recorder && page.recorder.seconds > LONGEST) page.finishRecording();
}

function say(sentence, bad = false) {
  $('word').textContent = sentence;
  $('word').className = sentence ? `on${bad ? ' bad' : ''}` : '';
  clearTimeout(quiet);
  if (bad && page?.up) quiet = setTimeout(() => say(''), 7000);
}

function changed() {
  const { source, sound, recorder, up } = page;
  const shown = source === 'file' && page.sample ? 'sample' : source;
  for (const name of ['microphone', 'watch', 'file', 'sample']) press(name, shown === name);
  $('dot').classList.toggle('on', !!up);
  $('dot').title = up ? 'connected' : 'not connected';
  $('dot').setAttribute('aria-label', $('dot').title);
  $('watch').disabled = !page.hello?.watch;
  press('record', !!recorder);
  $('record').textContent = recorder ? 'Stop' : 'Record';
  $('interrupt').disabled = source === 'watch';
  $('sound').setAttribute('aria-pressed', String(!!source && !sound.muted));
  $('sound').disabled = !sound.context;
}

function press(name, on) {
  $(name).classList.toggle('on', on);
  $(name).setAttribute('aria-pressed', String(on));
}

function looks() {
  const { faces, which, detail } = picture;
  const names = { default: 'default head', model: "the model's own", avatar: faces.avatar?.name };
  $('which').replaceChildren(
    ...Object.keys(names)
      .filter((key) => faces[key])
      .map((key) => new Option(names[key], key, false, key === which)),
  );
  $('detail').value = detail.wish;
}

function files(list) {
  for (const link of $('downloads').children) URL.revokeObjectURL(link.href);
  $('downloads').replaceChildren(
    ...list.map(({ name, blob }) => {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.textContent = `${name.split('.').pop().toUpperCase()} · ${(blob.size / 1e6).toFixed(1)} MB`;
      return link;
    }),
  );
  $('downloads').hidden = !list.length;
}

async function open(file) {
  const name = file.name.slice(0, 60);
  if (!page.hello) return;
  if (file.size > MOST_BYTES) {
    say(`${name} has ${Math.round(file.size / 1e6)} MB: give at most ${MOST_BYTES / 1e6}`, true);
  } else if (/\.(glb|gltf)$/i.test(name)) {
    await picture.open(await file.arrayBuffer(), name).then(
      () => say(''),
      (error) => say(error.message, true),
    );
  } else {
    page.sample = false;
    await page.file(await file.arrayBuffer(), name);
  }
}

function wire() {
  const toggle = (name, begin) => {
    $(name).onclick = () => ($(name).classList.contains('on') ? page.stop() : begin());
  };
  toggle('microphone', () => page.microphone());
  toggle('watch', () => page.watch());
  toggle('file', () => $('pick-audio').click());
  toggle('sample', async () => {
    const bytes = await (await fetch('/voice.flac')).arrayBuffer();
    page.sample = true;
    await page.file(bytes, 'the sample');
  });
  $('interrupt').onclick = () => page.interrupt();
  $('sound').onclick = () => {
    page.sound.setMuted(!page.sound.muted);
    changed();
  };
  $('record').onclick = () => page.hello && (page.recorder ? page.finishRecording() : page.record($('face')));
  $('avatar').onclick = () => $('pick-face').click();
  $('which').onchange = () => picture.show($('which').value);
  $('detail').onchange = () => picture.detail.set($('detail').value);
  for (const id of ['pick-audio', 'pick-face']) {
    $(id).onchange = () => {
      if ($(id).files[0]) open($(id).files[0]);
      $(id).value = '';
    };
  }
  window.addEventListener('keydown', ({ key }) => {
    if (key === 'Escape') page.interrupt();
  });
  window.addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  window.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('dropping');
  });
  window.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
  document.addEventListener('visibilitychange', () => {
    if (page.source || !page.hello) return;
    if (document.hidden) page.link.send({ type: 'pause' });
    else page.idle();
  });
}

try {
  await start();
  wire();
  page.connect();
  requestAnimationFrame(draw);
} catch (error) {
  console.error(error);
  say(
    /webgl/i.test(error.message)
      ? 'This browser draws no 3D (WebGL is off): the face cannot be shown.'
      : error.message,
    true,
  );
}
