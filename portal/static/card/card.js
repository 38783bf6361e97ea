// The card's code renews itself. Without this file the page reloads by itself instead.
const box = document.querySelector('[data-card-code]')
const drawing = box.querySelector('svg.card-code__qr')
const ring = box.querySelector('.card-ring')
const run = box.querySelector('.card-ring__run')
const say = box.querySelector('[data-card-say]')
const usual = say.textContent
const language = document.documentElement.lang === 'en' ? 'en-GB' : document.documentElement.lang
let goodUntil = Date.now() + 55_000
let timer

function show (code) {
  const { size, path } = code.drawing
  drawing.setAttribute('viewBox', `0 0 ${size} ${size}`)
  drawing.querySelector('path').setAttribute('d', path)
  goodUntil = Date.now() + code.good_for_s * 1000 - 5_000
  box.classList.remove('card-code--offline', 'card-code--stale')
  if (say.textContent !== usual) say.textContent = usual
}

function explain () {
  const left = goodUntil - Date.now()
  box.classList.add('card-code--offline')
  box.classList.toggle('card-code--stale', left <= 0)
  const time = new Date(goodUntil).toLocaleTimeString(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone: 'Asia/Shanghai' })
  say.textContent = left > 0 ? box.dataset.offline.replace('{time}', time) : box.dataset.stale
}

function wind (seconds) {
  ring.classList.remove('card-ring--runs')
  void ring.getBoundingClientRect() // the animation starts again
  run.style.animationDuration = `${seconds}s`
  ring.classList.add('card-ring--runs')
  clearTimeout(timer)
  timer = setTimeout(renew, seconds * 1000)
}

async function renew () {
  if (document.hidden) return // nobody looks: spend no code
  let next = Number(box.dataset.seconds)
  try {
    const answer = await fetch(box.dataset.address, { headers: { Accept: 'application/json' }, cache: 'no-store' })
    if (answer.status === 409 || answer.status === 404 || answer.status === 401) return location.reload()
    if (!answer.ok) throw new Error(answer.status)
    const code = await answer.json()
    show(code)
    next = code.renew_after_s
  } catch {
    explain()
    next = 5
  }
  wind(next)
}

document.addEventListener('visibilitychange', () => { if (!document.hidden) renew() })
addEventListener('online', renew)
wind(Number(box.dataset.seconds))
