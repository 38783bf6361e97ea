// The phone is the card: a key that cannot be taken out of the browser signs each code, with or without a network.
// What is signed and sent is in docs/reference/credential.md.
const here = document.querySelector('script[data-qr]')
const page = document.querySelector('[data-phone]')
const DOMAIN = new TextEncoder().encode('citizen-card/dynamic/1\0')
const language = document.documentElement.lang === 'en' ? 'en-GB' : document.documentElement.lang // days before months
const RENEW_MS = 15_000
const DAY_MS = 86_400_000

/* What is kept on this phone */

const store = await new Promise((resolve, reject) => {
  const asked = indexedDB.open('citizen-card', 1)
  asked.onupgradeneeded = () => asked.result.createObjectStore('kept')
  asked.onsuccess = () => resolve(asked.result)
  asked.onerror = () => reject(asked.error)
})

function inStore (mode, act) {
  return new Promise((resolve, reject) => {
    const step = store.transaction('kept', mode, { durability: 'strict' })
    const asked = act(step.objectStore('kept'))
    step.oncomplete = () => resolve(asked?.result)
    step.onerror = () => reject(step.error)
  })
}

const load = () => inStore('readonly', kept => kept.get('card'))
const keep = card => inStore('readwrite', kept => kept.put(card, 'card'))
const forget = () => inStore('readwrite', kept => kept.clear())

/** The next counter; it never goes back, not even between two tabs. */
const count = () => new Promise((resolve, reject) => {
  const step = store.transaction('kept', 'readwrite', { durability: 'strict' })
  const kept = step.objectStore('kept')
  let next
  kept.get('counter').onsuccess = event => {
    next = Math.max((event.target.result ?? 0) + 1, 1)
    kept.put(next, 'counter')
  }
  step.oncomplete = () => resolve(next)
  step.onerror = () => reject(step.error)
})

/* Bytes */

const fromBase64url = text => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), c => c.charCodeAt(0))
const toBase64url = bytes => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')

function join (...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) { whole.set(part, at); at += part.length }
  return whole
}

const four = number => [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255]

/** The head of a CBOR item in its shortest form (RFC 8949, section 3). */
function head (major, number) {
  const type = major << 5
  if (number < 24) return [type | number]
  if (number < 0x100) return [type | 24, number]
  if (number < 0x10000) return [type | 25, number >> 8, number & 255]
  if (number < 0x100000000) return [type | 26, ...four(number)]
  return [type | 27, ...four(Math.floor(number / 0x100000000)), ...four(number % 0x100000000)]
}
const bytes = part => join(Uint8Array.from(head(2, part.length)), part)

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:'
function base45 (data) {
  let text = ''
  for (let at = 0; at < data.length; at += 2) {
    const pair = at + 1 < data.length
    let value = pair ? data[at] * 256 + data[at + 1] : data[at]
    for (let digits = pair ? 3 : 2; digits > 0; digits--) {
      text += ALPHABET[value % 45]
      value = Math.floor(value / 45)
    }
  }
  return text
}

/* The key */

async function makeKey () {
  for (const kind of [{ name: 'Ed25519' }, { name: 'ECDSA', namedCurve: 'P-256' }]) {
    try {
      const pair = await crypto.subtle.generateKey(kind, false, ['sign', 'verify'])
      const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey))
      return { pair, raw, kind: kind.name }
    } catch { /* the next kind */ }
  }
  return null
}

async function makeCode (card) {
  const time = Math.floor((Date.now() + card.skew) / 1000)
  const dynamic = Uint8Array.from([...head(4, 2), ...head(0, time), ...head(0, await count())])
  const how = card.kind === 'ECDSA' ? { name: 'ECDSA', hash: 'SHA-256' } : { name: 'Ed25519' }
  const signature = new Uint8Array(await crypto.subtle.sign(how, card.pair.privateKey, join(DOMAIN, card.static, dynamic)))
  return 'CC1:' + base45(join(Uint8Array.from(head(4, 3)), bytes(card.static), bytes(dynamic), bytes(signature)))
}

/* The city */

async function ask (address, raw) {
  const answer = await fetch(address, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json', 'X-CSRFToken': page.dataset.csrf },
    body: JSON.stringify({ public_key: toBase64url(raw) })
  })
  const said = await answer.json().catch(() => ({}))
  return { ok: answer.ok, status: answer.status, said }
}

async function renewCredential (card) {
  const { ok, status, said } = await ask(page.dataset.address, card.raw)
  if (ok) {
    const renewed = { ...card, static: fromBase64url(said.static), number: said.number, goodUntil: said.good_until, skew: said.server_time - Date.now(), renewedAt: Date.now() }
    await keep(renewed)
    return renewed
  }
  // Blocked, replaced or bound elsewhere: this key will never be good again. Signed out (401): it still is.
  if (status === 404 || status === 409) { await forget(); return null }
  return card
}

/* The page */

const part = name => page.querySelector(`[data-when="${name}"]`)
function only (name) {
  for (const one of page.querySelectorAll('[data-when]')) one.hidden = one.dataset.when !== name
}

function draw (text, encode) {
  const code = encode(0, 'M')
  code.addData(text, 'Alphanumeric')
  code.make()
  const size = code.getModuleCount()
  let path = ''
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      let length = 0
      while (x + length < size && code.isDark(y, x + length)) length++
      if (length) path += `M${x + 4} ${y + 4}h${length}v1h-${length}z`
      x += length
    }
  }
  const drawing = page.querySelector('svg.card-code__qr')
  drawing.setAttribute('viewBox', `0 0 ${size + 8} ${size + 8}`)
  drawing.querySelector('path').setAttribute('d', path)
}

let timer
let card = await load()
const encode = (await import(here.dataset.qr)).default

async function show () {
  clearTimeout(timer)
  if (!card) return only('unbound')
  const left = card.goodUntil - (Date.now() + card.skew)
  if (left <= 0) return only('ended')
  only('bound')
  if (document.hidden) return
  draw(await makeCode(card), encode)
  page.querySelector('[data-number]').textContent = `${card.number.slice(0, 4)} ···· ${card.number.slice(-4)}`
  const until = new Date(card.goodUntil).toLocaleDateString(language, { year: 'numeric', month: 'long', day: 'numeric', timeZone: 'Asia/Shanghai' })
  page.querySelector('[data-until]').textContent = page.dataset.until.replace('{date}', until)
  const ring = page.querySelector('.card-ring')
  ring.classList.remove('card-ring--runs')
  void ring.getBoundingClientRect()
  page.querySelector('.card-ring__run').style.animationDuration = `${RENEW_MS / 1000}s`
  ring.classList.add('card-ring--runs')
  timer = setTimeout(show, RENEW_MS)
}

async function refresh () {
  if (!card || !navigator.onLine) return
  try {
    card = await renewCredential(card)
    await show()
  } catch { /* no network: the credential we have is good for its days */ }
}

page.querySelector('[data-act="bind"]').addEventListener('click', async event => {
  const button = event.currentTarget
  button.disabled = true
  const key = await makeKey()
  if (!key) return only('unsupported')
  try {
    card = await renewCredential({ ...key, skew: 0 })
    if (!card) throw new Error('refused')
    await navigator.serviceWorker?.register(page.dataset.worker)
    navigator.storage?.persist?.()
    await show()
  } catch {
    card = null
    part('unbound').querySelector('[data-trouble]').hidden = false
    button.disabled = false
  }
})

page.querySelector('[data-act="end"]').addEventListener('click', async () => {
  try { await ask(page.dataset.end, card.raw) } catch { return }
  await forget()
  for (const name of await caches.keys()) await caches.delete(name)
  for (const worker of await navigator.serviceWorker?.getRegistrations() ?? []) await worker.unregister()
  card = null
  await show()
})

document.addEventListener('visibilitychange', () => { if (!document.hidden) show() })
addEventListener('online', refresh)
await show()
if (card && (!card.renewedAt || Date.now() - card.renewedAt > DAY_MS)) await refresh()
page.dataset.ready = 'yes'
