// Keep the list of taps fresh while somebody looks at it. Without this script the page has a link to load again.
const live = document.querySelector('[data-live]');
async function refresh() {
  if (document.hidden || live.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const fresh = page.querySelector('[data-live]');
    if (fresh && fresh.innerHTML !== live.innerHTML) live.replaceChildren(...fresh.childNodes);
  } catch { /* the network is away; the next turn tries again */ }
}
if (live) setInterval(refresh, 5000);
