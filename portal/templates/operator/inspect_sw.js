// Opens the inspector's page without a network. Keeps the page and its files; the signed lists are in the page's own store.
const KEEP = 'inspect-{{ version }}'
const PAGE = '{{ url_for("inspect.show") }}'
const FILES = {{ files|tojson }}

async function keepPage (answer) {
  if (answer.ok && !answer.redirected) await (await caches.open(KEEP)).put(PAGE, answer.clone())
  return answer
}

addEventListener('install', event => {
  skipWaiting()
  event.waitUntil((async () => {
    await (await caches.open(KEEP)).addAll(FILES)
    await keepPage(await fetch(PAGE, { credentials: 'same-origin' }))
  })())
})

addEventListener('activate', event => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith('inspect-') && name !== KEEP) await caches.delete(name)
    await clients.claim()
  })())
})

addEventListener('fetch', event => {
  const address = new URL(event.request.url)
  if (event.request.method !== 'GET' || address.origin !== location.origin) return
  if (event.request.mode === 'navigate' && address.pathname === PAGE) {
    event.respondWith((async () => {
      const kept = await caches.match(PAGE)
      const fresh = fetch(event.request).then(keepPage)
      if (!kept) return fresh
      // Neither a slow network nor a session that has ended may stand between an inspector and a rider: what is needed is in the phone.
      const usable = fresh.then(answer => answer.ok ? answer : kept.clone()).catch(() => kept.clone())
      const patience = new Promise(resolve => setTimeout(() => resolve(kept.clone()), 1500))
      return Promise.race([usable, patience])
    })())
  } else if (address.pathname.startsWith('/static/')) {
    event.respondWith(caches.match(event.request, { ignoreSearch: true, cacheName: KEEP }).then(kept => kept ?? fetch(event.request)))
  }
})
