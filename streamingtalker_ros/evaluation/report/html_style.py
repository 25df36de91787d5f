# SPDX-License-Identifier: Apache-2.0
"""Style, script and the explanations at the foot of the report."""

STYLE = """
:root { --ink: #1d2330; --faint: #6b7486; --line: #e6e9ef; --made: #2457c5; --good: #1f8a5b; --bad: #c8372d }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink);
       background: #f4f5f8; margin: 0 auto; max-width: 1180px; padding: 2.5em 1.2em 4em }
header { margin: 0 .4em 1.6em }
h1 { font-size: 2.1em; letter-spacing: -.02em; margin: 0 0 .1em }
h1 em { font-style: normal; color: var(--made) }
h2 { font-size: 1.35em; letter-spacing: -.01em; margin: 0 0 .2em }
.text { color: var(--faint); max-width: 62em; margin: .2em 0 1em }
.verdict { font-size: 1.15em; margin: .8em 0 .6em } .verdict b { font-size: 1.3em }
section { background: #fff; border-radius: 14px; padding: 1.6em 1.7em; margin: 1.4em 0;
          box-shadow: 0 1px 2px #1d233014, 0 6px 24px #1d23300a }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(235px, 1fr)); gap: .8em }
.tile { background: #fff; border-radius: 12px; padding: .8em 1em; border-left: 5px solid; display: flex;
        flex-direction: column; box-shadow: 0 1px 2px #1d233014 }
.tile span { font-size: .84em; color: var(--faint); flex: 1 }
.tile b { font-size: 1.75em; letter-spacing: -.02em; line-height: 1.25 }
.tile i { font-style: normal; font-size: .84em; color: var(--faint) }
.tile.good { border-color: var(--good) } .tile.bad { border-color: var(--bad) } .tile.bad b { color: var(--bad) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.targets { width: 100%; font-size: .93em } .targets td { padding: .22em .8em .22em 0; vertical-align: top }
.targets td:nth-child(3) { font-weight: 650; white-space: nowrap } .targets td:nth-child(4) { white-space: nowrap }
.targets td:nth-child(4), .targets td:nth-child(5) { color: var(--faint) }
.targets .group th { text-align: left; padding: 1em 0 .2em; font-size: .86em; color: var(--faint); font-weight: 600;
                     border-bottom: 1px solid var(--line) }
.mark { display: inline-block; width: 1.5em; height: 1.5em; line-height: 1.5em; text-align: center; border-radius: 50%;
        font-size: .8em; font-weight: 700; color: #fff }
.good .mark { background: var(--good) } .bad .mark { background: var(--bad) } .bad td:nth-child(3) { color: var(--bad) }
.numbers { font-size: .86em; margin: .4em 0 1.2em; min-width: 100% }
.numbers th { font-weight: 500; text-align: right; padding: .3em .55em; color: var(--faint); vertical-align: bottom;
              line-height: 1.25 }
.numbers td { text-align: right; padding: .3em .55em; white-space: nowrap; border-top: 1px solid var(--line) }
.numbers tr th:first-child { text-align: left; color: var(--ink); padding-left: 0; border-top: 1px solid var(--line);
                             min-width: 13em }
.numbers tr:first-child th { border-top: 0 } .numbers tr:nth-child(2) > * { font-weight: 700; color: var(--made) }
.numbers tr:nth-child(2) th:first-child { color: var(--made) }
figure { margin: 1.5em 0 0 } svg { width: 100%; height: auto; display: block }
figcaption { color: var(--faint); font-size: .92em; margin: .2em 0 }
.clip { border-top: 1px solid var(--line); padding-top: 1em }
.clip figcaption { display: flex; align-items: center; gap: .7em; margin-bottom: .5em }
.clip figcaption b { color: var(--ink) }
audio { height: 32px; margin-left: auto; max-width: 300px }
.stage { position: relative }
.head { position: absolute; top: 0; bottom: 7%; width: 2px; background: var(--ink); opacity: 0; pointer-events: none }
.small { font-size: .82em; color: var(--faint); margin: 1.2em 0 0 }
dt { font-weight: 650; margin-top: .7em } dd { margin: 0; color: var(--faint); max-width: 66em }
code { font-size: .93em }
@media print { body { background: #fff } section { box-shadow: none; break-inside: avoid } audio { display: none } }
"""

SCRIPT = """
document.querySelectorAll('figure.clip').forEach(figure => {
  const audio = figure.querySelector('audio'), stage = figure.querySelector('.stage');
  const head = figure.querySelector('.head');
  const [left, right, seconds] = ['left', 'right', 'seconds'].map(key => Number(stage.dataset[key]));
  const draw = () => {
    head.style.left = left + (right - left) * Math.min(audio.currentTime / seconds, 1) + '%';
    if (!audio.paused) requestAnimationFrame(draw);
  };
  audio.addEventListener('play', () => {
    document.querySelectorAll('audio').forEach(other => { if (other !== audio) other.pause(); });
    head.style.opacity = 0.65; draw();
  });
  audio.addEventListener('seeked', draw);
  stage.addEventListener('click', event => {
    const box = stage.getBoundingClientRect(), at = 100 * (event.clientX - box.left) / box.width;
    audio.currentTime = Math.max(0, Math.min(1, (at - left) / (right - left))) * seconds;
    audio.play();
  });
});
"""

MEASURES = """
<dt>Lip opening, lip width</dt><dd>max(0, signed gap of the inner lips) and the distance of the mouth's corners, in
inter-ocular distances (between the middles of the eyes) of the face that shows them; millimetres are those of the
default face.</dd>
<dt>r, lag, amplitude</dt><dd>Pearson's correlation of a clip's made and true curve; the delay at which the clips'
mean cross-correlation peaks (a parabola through three frames); the median over clips of the ratio of standard
deviations, made over reference. Clips whose reference does not move have no part in them.</dd>
<dt>Closures</dt><dd>A p, b or m counts as closed when, within half a frame of it, the lips come under a tenth of the
median open-vowel opening of the same system; a false contact is an open vowel (aa ae ah ao aw ay eh) with such a
frame in its middle half.</dd>
<dt>LVE, FDD, MOD</dt><dd>Vertices of the default face, the head at rest. LVE: mean over frames of the largest squared
error of a lip vertex. FDD: mean over vertices moved by eye and brow shapes of the standard deviation over time of ‖x
− template‖², reference minus made. MOD: mean difference of the distance of five lip pairs. They compare with no
figure on another mesh.</dd>
<dt>Jerk over amplitude</dt><dd>Root mean square of the third difference of the lip opening, made over reference,
divided by the amplitude ratio: above 1 trembles, under 1 is smoother than people.</dd>
<dt>Rest</dt><dd>Mean speed of the lips' vertices. Sounds without a voice are synthesised by the evaluation, not those
of training; speech is cut in its loudest third.</dd>
<dt>Seeds</dt><dd>Standard deviations over seeds, averaged over frames; at closures: of the least opening within each
p, b, m that at least half of the seeds close.</dd>
<dt>An hour</dt><dd>Blocks repeat the same speech, so that they differ only by when it is said; last block over first,
the error being that over seeds.</dd>
"""
