// Taps as they arrive: from a stream of events while the server has one to spare, else asked for every few seconds. Both go on
// from the place that came with the last news, so nothing is missed and nothing is shown twice. Without this script there is a
// link to load again.
const ROWS_MAX = 200
const ASK_EVERY_MS = 5000
const STREAM_AGAIN_AFTER_MS = 30000
const SAY_AT_MOST_EVERY_MS = 8000
const OVER = [401, 403, 410] // signed out, or away for so long that the list has to be loaded again

const root = document.querySelector('[data-live]')
const table = document.querySelector('[data-live-table]')
const pause = root.querySelector('[data-live-pause]')
const state = root.querySelector('[data-live-state]')
const said = root.querySelector('[data-live-said]')
const alarms = root.querySelector('[data-live-alarms]')
const words = root.dataset

let place = words.place
let source = null
let asking = 0
let streamAgainAt = 0
let paused = false
let unsaid = { count: 0, last: '' }
let saying = 0
let turn = 0 // an answer that comes after its turn says nothing any more

function tell (text, mood = '') {
  if (state.textContent !== text) state.textContent = text
  state.dataset.mood = mood
}

/** One sentence for a screen reader, not one for each tap: at most every few seconds, and nothing while nothing happens. */
function say (count, last) {
  unsaid = { count: unsaid.count + count, last }
  saying ||= setTimeout(() => {
    said.textContent = words.said.replace('{count}', unsaid.count).replace('{last}', unsaid.last)
    unsaid = { count: 0, last: '' }
    saying = 0
  }, said.textContent ? SAY_AT_MOST_EVERY_MS : 500)
}

function show (news) {
  place = news.place
  alarms.textContent = new Intl.NumberFormat(document.documentElement.lang).format(news.alarms)
  if (!news.count) return
  const rows = document.createElement('template')
  rows.innerHTML = news.rows
  for (const row of rows.content.children) row.classList.add('transit-live__new')
  const body = table.tBodies[0]
  body.prepend(rows.content)
  while (body.rows.length > ROWS_MAX) body.deleteRow(-1)
  table.closest('.city-table-wrap').hidden = false
  document.querySelector('[data-live-empty]')?.remove()
  table.dispatchEvent(new CustomEvent('city:rows', { bubbles: true }))
  say(news.count, news.last)
}

function stop () {
  turn += 1
  source?.close()
  source = null
  clearTimeout(asking)
}

function from (address) {
  return `${address}?after=${encodeURIComponent(place)}`
}

function stream () {
  stop()
  source = new EventSource(from(words.stream))
  source.addEventListener('news', event => {
    tell(words.liveText, 'live')
    show(JSON.parse(event.data))
  })
  source.addEventListener('error', () => {
    if (source?.readyState !== EventSource.CLOSED) return // the end of a stream: the browser comes again, and says where it was
    streamAgainAt = Date.now() + STREAM_AGAIN_AFTER_MS
    ask()
  })
}

async function ask () {
  stop()
  const mine = turn
  let wait = ASK_EVERY_MS
  try {
    const answer = await fetch(from(words.news), { headers: { Accept: 'application/json' } })
    const told = await answer.json()
    if (mine !== turn) return
    if (OVER.includes(answer.status)) {
      pause.hidden = true
      tell(told.title, 'over')
      return
    }
    if (!answer.ok) throw new Error(told.title)
    tell(words.asking)
    show(told)
    if (!told.complete) wait = 0
  } catch {
    if (mine !== turn) return
    tell(words.away)
  }
  asking = setTimeout(Date.now() > streamAgainAt ? stream : ask, wait)
}

function go () {
  if (paused || document.hidden) stop()
  else stream()
}

state.hidden = false
pause.hidden = false
const stopText = pause.textContent
pause.addEventListener('click', () => {
  paused = !paused
  pause.textContent = paused ? words.goOn : stopText
  if (paused) tell(words.paused)
  go()
})
document.addEventListener('visibilitychange', go)
addEventListener('pagehide', stop)
addEventListener('pageshow', event => { if (event.persisted) go() })
go()
