// SPDX-License-Identifier: Apache-2.0
document.querySelectorAll('figure.clip').forEach(figure => {
  const audio = figure.querySelector('audio'), chart = figure.querySelector('.chart');
  const playhead = figure.querySelector('.playhead');
  const [left, right, seconds] = ['left', 'right', 'seconds'].map(key => Number(chart.dataset[key]));
  const update = () => {
    playhead.style.left = left + (right - left) * Math.min(audio.currentTime / seconds, 1) + '%';
    if (!audio.paused) requestAnimationFrame(update);
  };
  audio.addEventListener('play', () => {
    document.querySelectorAll('audio').forEach(other => { if (other !== audio) other.pause(); });
    playhead.style.opacity = 0.65; update();
  });
  audio.addEventListener('seeked', update);
  chart.addEventListener('click', event => {
    const box = chart.getBoundingClientRect(), position = 100 * (event.clientX - box.left) / box.width;
    audio.currentTime = Math.max(0, Math.min(1, (position - left) / (right - left))) * seconds;
    audio.play();
  });
});
