// Small improvements over pages that already work: GOV.UK Frontend's components, and the arrow keys of a television's remote.
const here = document.currentScript ?? document.querySelector('script[data-frontend]')

import(here.dataset.frontend)
  .then(({ initAll }) => initAll())
  .catch(() => {}) // the page works without it

const FOCUSABLE = 'a[href], button:not([disabled]), input:not([type=hidden]):not([disabled]), select, textarea, summary'
const AHEAD = {
  ArrowUp: (from, to) => from.top - to.bottom,
  ArrowDown: (from, to) => to.top - from.bottom,
  ArrowLeft: (from, to) => from.left - to.right,
  ArrowRight: (from, to) => to.left - from.right
}

/** The nearest thing to focus in a direction: distance ahead counts once, distance aside counts twice. */
function nearest (key, current) {
  const from = current.getBoundingClientRect()
  const upright = key === 'ArrowUp' || key === 'ArrowDown'
  let best = null
  let least = Infinity
  for (const candidate of document.querySelectorAll(FOCUSABLE)) {
    const to = candidate.getBoundingClientRect()
    const ahead = AHEAD[key](from, to)
    if (candidate === current || to.width === 0 || ahead < -4) continue
    const aside = upright
      ? Math.max(0, to.left - from.right, from.left - to.right)
      : Math.max(0, to.top - from.bottom, from.top - to.bottom)
    const distance = ahead + 2 * aside
    if (distance < least) [best, least] = [candidate, distance]
  }
  return best
}

document.addEventListener('keydown', event => {
  const current = document.activeElement
  if (!(event.key in AHEAD) || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return
  // A remote has only arrows: it starts from a focused link or button. In a field the arrows belong to the field.
  if (!current?.matches?.('a[href], button, summary')) return
  const next = nearest(event.key, current)
  if (!next) return
  event.preventDefault()
  next.focus()
  next.scrollIntoView({ block: 'nearest', inline: 'nearest' })
})

for (const button of document.querySelectorAll('[data-print]')) {
  button.hidden = false
  button.addEventListener('click', () => window.print())
}

// Where the line of stops is longer than a phone is wide, the present stop is in sight, and each end that goes on fades.
const line = document.querySelector('.city-line__stops')
const fade = () => line.classList.toggle('city-line__stops--moved', line.scrollLeft > 0)
line?.addEventListener('scroll', fade, { passive: true })
const present = document.querySelector('.city-line__stop--here')
if (present && present.parentElement.scrollWidth > present.parentElement.clientWidth) {
  present.parentElement.scrollLeft = present.offsetLeft - (present.parentElement.clientWidth - present.offsetWidth) / 2
}

// A table that does not fit on a phone becomes a block for each row, every cell under the name of its column.
const phone = matchMedia('(max-width: 40em)')
const ROLES = { TABLE: 'table', THEAD: 'rowgroup', TBODY: 'rowgroup', TFOOT: 'rowgroup', TR: 'row', TD: 'cell' }
const COLUMNS_MAX = 3

function label (table) {
  const names = [...table.tHead?.rows[0]?.cells ?? []].map(cell => cell.textContent.trim())
  for (const part of [table, ...table.querySelectorAll('thead, tbody, tfoot, tr, td, th')]) {
    // a browser may forget what a table is once its parts are laid out as blocks
    part.setAttribute('role', part.tagName === 'TH' ? (part.scope === 'row' ? 'rowheader' : 'columnheader') : ROLES[part.tagName])
  }
  for (const row of table.querySelectorAll('tbody tr, tfoot tr')) {
    if (row.cells.length !== names.length) continue
    [...row.cells].forEach((cell, at) => {
      const field = cell.querySelector('input, select')
      if (names[at] && (field || (at > 0 && cell.textContent.trim()))) cell.dataset.label = names[at]
    })
  }
}

const columnsOf = table => [...table.tHead?.rows[0]?.cells ?? []].map(cell => cell.textContent.trim()).join('|')

function sticksOut (table) {
  const wrap = table.closest('.city-table-wrap')
  table.classList.remove('city-stack')
  wrap.tabIndex = 0
  return Boolean(table.tHead) && (table.tHead.rows[0].cells.length > COLUMNS_MAX || table.scrollWidth > wrap.clientWidth)
}

// Tables with the same columns are laid out alike: one that does not fit takes the others with it.
function fitAll () {
  const tables = [...document.querySelectorAll('.city-table-wrap > .city-table')]
  const out = tables.map(sticksOut)
  if (!phone.matches) return
  const stacked = new Set(tables.filter((_, at) => out[at]).map(columnsOf))
  for (const table of tables) {
    if (!stacked.has(columnsOf(table))) continue
    label(table)
    table.classList.add('city-stack')
    table.closest('.city-table-wrap').removeAttribute('tabindex') // nothing scrolls sideways any more
  }
}

fitAll()
document.fonts?.ready.then(fitAll) // the letters of a typeface that came late may be wider
phone.addEventListener('change', fitAll)
document.addEventListener('city:rows', event => { if (event.target.classList.contains('city-stack')) label(event.target) })
