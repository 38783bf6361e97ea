// Keep the list of taps fresh while somebody looks at it. Without this script the page has a link to load again.
const live = document.querySelector('[data-live]');
const pause = document.querySelector('[data-live-pause]');
let paused = false;
if (pause) {
  pause.hidden = false;
  pause.addEventListener('click', () => {
    paused = !paused;
    pause.setAttribute('aria-pressed', String(paused));
  });
}
async function refresh() {
  if (paused || document.hidden || live.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const fresh = page.querySelector('[data-live]');
    if (fresh && fresh.innerHTML !== live.innerHTML) live.replaceChildren(...fresh.childNodes);
  } catch { /* the network is away; the next turn tries again */ }
}
if (live) setInterval(refresh, 5000);
