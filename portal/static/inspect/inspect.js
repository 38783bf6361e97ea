// The inspector's page: camera, verdict, lists that last without a network.
const page = document.querySelector('[data-inspect]')
const { Refused, fromBase64url, readBundle, verify } = await import(page.dataset.credential)
const part = name => page.querySelector(`[data-part="${name}"]`)
const words = JSON.parse(page.querySelector('[data-words]').textContent)
const tag = document.documentElement.lang === 'en' ? 'en-GB' : 'zh-CN'
const KEPT = 'lists' // not the worker's own: it clears those of earlier versions
const AGAIN_MS = 4000 // the same code within this is the same look
const STALE_MS = 3_600_000
const POLL_MS = 300_000

const clockTime = at => new Date(at).toLocaleTimeString(tag, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: 'Asia/Shanghai' })
const civilDay = at => new Date(at).toLocaleDateString(tag, { year: 'numeric', month: 'short', day: 'numeric', timeZone: 'UTC' })
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name])

/* Lists */

let bundle = null
let skew = Number(localStorage.getItem('inspect-skew') ?? 0)
const now = () => Date.now() + skew

async function keepLists (answer) {
  const bytes = new Uint8Array(await answer.clone().arrayBuffer())
  const fresh = await readBundle(bytes, fromBase64url(page.dataset.key))
  if (bundle && fresh.madeAt < bundle.madeAt) return
  bundle = fresh
  await (await caches.open(KEPT)).put(page.dataset.bundle, answer)
}

async function update () {
  const began = Date.now()
  try {
    const answer = await fetch(page.dataset.bundle, { headers: { Accept: 'application/cose' } })
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status))
    const found = Number(answer.headers.get('X-Server-Time')) - (began + Date.now()) / 2
    await keepLists(answer)
    skew = Math.abs(found) > (Date.now() - began) / 2 + 1000 ? Math.round(found) : 0
    localStorage.setItem('inspect-skew', skew)
  } catch { /* no network: what is kept counts */ }
  tellLists()
}

function tellLists () {
  const state = part('lists')
  const age = bundle ? now() - bundle.madeAt : Infinity
  state.dataset.state = !bundle || age > bundle.notAfter - bundle.madeAt ? 'ended' : age > STALE_MS ? 'stale' : 'fresh'
  const denied = bundle ? [...bundle.deny.values()].reduce((sum, list) => sum + list.size, 0) : 0
  const text = !bundle ? words.noLists : fill(state.dataset.state === 'ended' ? words.listsEnded : words.listsFrom, {
    time: clockTime(bundle.madeAt), day: new Date(bundle.madeAt).toLocaleDateString(tag, { month: 'short', day: 'numeric', timeZone: 'Asia/Shanghai' }), count: denied.toLocaleString(tag)
  })
  state.querySelector('[data-text]').textContent = text
  part('offline').hidden = navigator.onLine
}

/* The verdict */

let sound = localStorage.getItem('inspect-sound') !== 'off'
let audio
function signal (verdict) {
  navigator.vibrate?.(verdict === 'valid' ? [70] : [200, 90, 200])
  if (!sound) return
  try {
    audio ??= new AudioContext()
    for (const [place, pitch] of (verdict === 'valid' ? [880] : [330, 262]).entries()) {
      const [tone, loud] = [audio.createOscillator(), audio.createGain()]
      const at = audio.currentTime + place * 0.2
      tone.frequency.value = pitch
      loud.gain.setValueAtTime(0.2, at)
      loud.gain.exponentialRampToValueAtTime(0.001, at + 0.18)
      tone.connect(loud).connect(audio.destination)
      tone.start(at)
      tone.stop(at + 0.2)
    }
  } catch { /* a phone without sound still shows */ }
}

function line (name, text) {
  const row = document.createElement('div')
  const [term, value] = [document.createElement('dt'), document.createElement('dd')]
  term.textContent = name
  value.append(...[text].flat().map(one => { const line = document.createElement('p'); line.textContent = one; return line }))
  row.append(term, value)
  return row
}

function holdsHere (held) {
  const inScope = held.scope === bundle.city || (held.scope.endsWith('0000') && held.scope.slice(0, 2) === bundle.city.slice(0, 2))
  return inScope && new Date(now() + 8 * 3_600_000).setUTCHours(0, 0, 0, 0) <= held.until
}

function rights (card) {
  if (!card.entitlements.length) return words.noRights
  return card.entitlements.map(held => fill(holdsHere(held) ? words.right : words.rightElsewhere, {
    what: words.entitlements[held.code] ?? held.code, day: civilDay(held.until), city: words.cities[held.scope] ?? held.scope
  }))
}

let looks = 0
const lookedAt = new Map() // card number -> when it was last shown to this phone, while the page is open

function show (verdict, reason, card, extra = []) {
  const panel = part('verdict')
  panel.dataset.verdict = verdict
  panel.querySelector('[data-word]').textContent = words[verdict]
  panel.querySelector('[data-why]').textContent = reason ? words.sentences[reason] ?? words[reason] ?? reason : ''
  const facts = panel.querySelector('[data-facts]')
  facts.replaceChildren()
  if (card) {
    facts.append(line(words.card, `${card.number.slice(0, 4)} ···· ${card.number.slice(-4)}`))
    facts.append(line(words.issuer, words.cities[card.issuer] ?? card.issuer))
    facts.append(line(words.form, words[card.use]))
    if (verdict === 'valid') facts.append(line(words.rights, rights(card)))
  }
  facts.append(...extra)
}

async function ask (text, mine) {
  if (!navigator.onLine) return null
  try {
    const answer = await fetch(page.dataset.check, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json', 'X-CSRFToken': page.dataset.csrf },
      body: JSON.stringify({ text })
    })
    if (!answer.ok) return null
    const said = await answer.json()
    return mine === looks ? said : null
  } catch { return null }
}

/** Look at one code: the phone's own word at once, the city's when it comes. */
async function look (text) {
  const mine = ++looks
  let [verdict, reason, card] = ['valid', '', null]
  if (!bundle) [verdict, reason] = ['unknown', 'noLists']
  else {
    try { card = await verify(text, bundle, now()) } catch (error) {
      if (!(error instanceof Refused)) throw error
      card = error.card ?? null
      ;[verdict, reason] = error.reason === 'cannot-check-here' ? ['unknown', 'cannotCheckHere'] : ['invalid', error.reason]
    }
    if (verdict === 'valid' && now() > bundle.notAfter) [verdict, reason] = ['unknown', 'listsTooOld']
  }
  if (mine !== looks) return
  const before = card && lookedAt.get(card.number)
  if (card) lookedAt.set(card.number, Date.now())
  const notes = before && Date.now() - before > 20_000 ? [line(words.shownBefore, clockTime(before))] : []
  show(verdict, reason, card, [...notes, ...(verdict === 'valid' ? [line(words.lastTap, navigator.onLine ? words.asking : words.lastTapOffline)] : [])])
  signal(verdict)
  const said = await ask(text, mine)
  if (mine !== looks) return
  if (!said) {
    if (verdict === 'valid') show(verdict, reason, card, [...notes, line(words.lastTap, words.lastTapOffline)])
    return
  }
  const word = said.valid ? 'valid' : 'invalid'
  const tap = said.last ? fill(words.tap, { kind: said.last.kind, place: said.last.place, time: clockTime(said.last.at) }) : words.noTap
  if (word !== verdict) signal(word)
  show(word, said.reason, card, [...notes, ...(said.valid ? [line(words.lastTap, tap)] : [])])
}

/* The camera */

let stream = null
let timer
let seen = { text: '', at: 0 }
const video = part('video')
const canvas = document.createElement('canvas')
const pen = canvas.getContext('2d', { willReadFrequently: true })

async function reader () {
  if ('BarcodeDetector' in window) {
    try {
      if ((await BarcodeDetector.getSupportedFormats()).includes('qr_code')) {
        const detector = new BarcodeDetector({ formats: ['qr_code'] })
        return async () => (await detector.detect(video))[0]?.rawValue
      }
    } catch { /* then our own */ }
  }
  if (!window.jsQR) {
    await new Promise((resolve, reject) => {
      const script = document.createElement('script')
      Object.assign(script, { src: page.dataset.decoder, onload: resolve, onerror: reject })
      document.head.append(script)
    })
  }
  return async () => {
    const scale = Math.min(1, 960 / Math.max(video.videoWidth, video.videoHeight))
    canvas.width = Math.round(video.videoWidth * scale)
    canvas.height = Math.round(video.videoHeight * scale)
    if (!canvas.width) return undefined
    pen.drawImage(video, 0, 0, canvas.width, canvas.height)
    const { data, width, height } = pen.getImageData(0, 0, canvas.width, canvas.height)
    return window.jsQR(data, width, height, { inversionAttempts: 'dontInvert' })?.data
  }
}

async function start () {
  part('trouble').hidden = true
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1280 }, height: { ideal: 720 } } })
  } catch (error) {
    part('trouble').textContent = error.name === 'NotAllowedError' ? words.cameraDenied : words.noCamera
    part('trouble').hidden = false
    return
  }
  video.srcObject = stream
  await video.play()
  page.dataset.camera = 'on'
  part('start').hidden = true
  part('stop').hidden = false
  const track = stream.getVideoTracks()[0]
  part('torch').hidden = !track.getCapabilities?.().torch
  const read = await reader()
  const step = async () => {
    if (!stream) return
    const text = await read().catch(() => undefined)
    if (text && (text !== seen.text || Date.now() - seen.at > AGAIN_MS)) {
      const fresh = text !== seen.text
      seen = { text, at: Date.now() }
      if (fresh) await look(text)
    } else if (text) seen.at = Date.now()
    timer = setTimeout(step, 120)
  }
  step()
}

function stop () {
  clearTimeout(timer)
  for (const track of stream?.getTracks() ?? []) track.stop()
  stream = null
  video.srcObject = null
  seen = { text: '', at: 0 }
  page.dataset.camera = 'off'
  part('start').hidden = false
  part('stop').hidden = true
  part('torch').hidden = true
}

async function torch (button) {
  const on = button.getAttribute('aria-pressed') !== 'true'
  await stream?.getVideoTracks()[0].applyConstraints({ advanced: [{ torch: on }] })
  button.setAttribute('aria-pressed', String(on))
}

/* The page */

part('start').addEventListener('click', start)
part('stop').addEventListener('click', stop)
part('torch').addEventListener('click', event => torch(event.currentTarget))
part('sound').setAttribute('aria-pressed', String(sound))
part('sound').addEventListener('click', event => {
  sound = !sound
  localStorage.setItem('inspect-sound', sound ? 'on' : 'off')
  event.currentTarget.setAttribute('aria-pressed', String(sound))
})
part('typed').addEventListener('submit', event => {
  event.preventDefault()
  const field = event.currentTarget.elements.text
  if (field.value) look(field.value)
  field.select()
})
part('update').addEventListener('click', update)
addEventListener('online', update)
addEventListener('offline', tellLists)
document.addEventListener('visibilitychange', () => { if (document.hidden && stream) stop() })

const kept = await caches.match(page.dataset.bundle, { cacheName: KEPT })
if (kept) await keepLists(kept).catch(() => {})
tellLists()
await update()
setInterval(update, POLL_MS)
if (!navigator.mediaDevices) { part('start').disabled = true; part('trouble').textContent = words.noCamera; part('trouble').hidden = false }
await navigator.serviceWorker?.register(page.dataset.worker)
page.dataset.ready = 'yes'
