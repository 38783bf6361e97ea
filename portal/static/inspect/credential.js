// Verifies a card's code in the browser: Base45, CBOR, COSE_Sign1, the two signatures, the window, the deny list.
// The same order and the same reasons as the gate; docs/reference/credential.md says what is signed.

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:'
const DOMAIN = new TextEncoder().encode('citizen-card/dynamic/1\0')
const INSPECTION = new TextEncoder().encode('citizen-card/inspection-bundle/1')
const NONE = new Uint8Array()
const AGE_MAX_S = 60
const AHEAD_MAX_S = 30
const ENTITLEMENTS = ['senior-60', 'senior-70', 'student', 'disabled', 'veteran', 'month-pass-20', 'month-pass-30', 'month-pass-50', 'day-pass']
const USES = ['phone', 'kiosk', 'printed']

/** Why a code is not accepted: one of the gate's permanent reasons. */
export class Refused extends Error {
  constructor (reason) { super(reason); this.reason = reason }
}
const refuse = reason => { throw new Refused(reason) }
const malformed = condition => { if (condition) refuse('malformed') }

/* Bytes */

export const fromBase64url = text => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), c => c.charCodeAt(0))
const toBase64url = bytes => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at])

export function join (...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) { whole.set(part, at); at += part.length }
  return whole
}

function fromBase45 (text) {
  const digits = Array.from(text, letter => ALPHABET.indexOf(letter))
  malformed(digits.includes(-1) || digits.length % 3 === 1)
  const found = []
  for (let at = 0; at < digits.length; at += 3) {
    const [low, middle, high] = digits.slice(at, at + 3)
    const value = low + 45 * middle + 2025 * (high ?? 0)
    if (high === undefined) { malformed(value > 0xff); found.push(value) } else { malformed(value > 0xffff); found.push(value >> 8, value & 255) }
  }
  return Uint8Array.from(found)
}

/* CBOR (RFC 8949): one item, definite lengths, no key twice. Integers beyond 2^53 are BigInt. */

class Tag { constructor (number, value) { this.number = number; this.value = value } }

function cbor (bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const need = size => { malformed(at + size > bytes.length); at += size; return at - size }
  function length (info) {
    if (info < 24) return info
    if (info === 24) return view.getUint8(need(1))
    if (info === 25) return view.getUint16(need(2))
    if (info === 26) return view.getUint32(need(4))
    malformed(info !== 27)
    const big = view.getBigUint64(need(8))
    return big <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(big) : big
  }
  function item (depth) {
    malformed(depth > 16)
    const head = view.getUint8(need(1))
    const [major, info] = [head >> 5, head & 31]
    if (major === 7) {
      if (info === 20 || info === 21) return info === 21
      malformed(info !== 22)
      return null
    }
    const size = length(info)
    if (major === 0) return size
    if (major === 1) return typeof size === 'bigint' ? -1n - size : -1 - size
    malformed(typeof size === 'bigint')
    if (major === 2) { const from = need(size); return bytes.subarray(from, from + size) }
    if (major === 3) { const from = need(size); return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(from, from + size)) }
    malformed(size > bytes.length) // an element is a byte at least
    if (major === 4) return Array.from({ length: size }, () => item(depth + 1))
    if (major === 6) return new Tag(size, item(depth + 1))
    const map = new Map()
    for (let pair = 0; pair < size; pair++) {
      const key = item(depth + 1)
      malformed(map.has(key) || (typeof key === 'object'))
      map.set(key, item(depth + 1))
    }
    return map
  }
  let found
  try { found = item(0) } catch (error) { if (error instanceof Refused) throw error; refuse('malformed') }
  malformed(at !== bytes.length)
  return found
}

function head (major, number) {
  const type = major << 5
  if (number < 24) return Uint8Array.of(type | number)
  if (number < 0x100) return Uint8Array.of(type | 24, number)
  if (number < 0x10000) return Uint8Array.of(type | 25, number >> 8, number & 255)
  return Uint8Array.of(type | 26, number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255)
}
const written = part => typeof part === 'string' ? join(head(3, part.length), new TextEncoder().encode(part)) : join(head(2, part.length), part)

/* Keys and signatures */

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn

function power (base, exponent) {
  let [result, square] = [1n, base % P]
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = result * square % P
    square = square * square % P
  }
  return result
}
const number = bytes => BigInt('0x' + Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(''))
const bytes32 = value => Uint8Array.from(value.toString(16).padStart(64, '0').match(/../g), pair => parseInt(pair, 16))

/** The 65 bytes of a P-256 point from its 33: browsers read the long form only (SEC 1, section 2.3.4). */
function point (raw) {
  if (raw.length === 65) return raw
  malformed(raw.length !== 33 || (raw[0] !== 2 && raw[0] !== 3))
  const x = number(raw.subarray(1))
  const square = (x * x * x - 3n * x + B) % P
  let y = power((square + P) % P, (P + 1n) / 4n)
  malformed((y * y - square) % P !== 0n)
  if (Number(y & 1n) !== raw[0] - 2) y = P - y
  return join(Uint8Array.of(4), bytes32(x), bytes32(y))
}

const sha256 = async bytes => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))

/** The 8-byte id of a raw public key: the head of its RFC 7638 thumbprint. */
async function keyId (raw) {
  let canonical
  if (raw.length === 32) canonical = `{"crv":"Ed25519","kty":"OKP","x":"${toBase64url(raw)}"}`
  else {
    const whole = point(raw)
    canonical = `{"crv":"P-256","kty":"EC","x":"${toBase64url(whole.subarray(1, 33))}","y":"${toBase64url(whole.subarray(33))}"}`
  }
  return (await sha256(new TextEncoder().encode(canonical))).subarray(0, 8)
}

const algorithmOf = raw => raw.length === 32 ? -8 : -7

async function holds (raw, signature, message) {
  if (signature.length !== 64) return false
  const [kind, how, key] = raw.length === 32
    ? [{ name: 'Ed25519' }, { name: 'Ed25519' }, raw]
    : [{ name: 'ECDSA', namedCurve: 'P-256' }, { name: 'ECDSA', hash: 'SHA-256' }, point(raw)]
  let imported
  try { imported = await crypto.subtle.importKey('raw', key, kind, false, ['verify']) } catch { refuse('cannot-check-here') }
  return crypto.subtle.verify(how, imported, signature, message)
}

function parse (bytes) {
  const item = cbor(bytes)
  malformed(!(item instanceof Tag) || item.number !== 18 || !Array.isArray(item.value) || item.value.length !== 4)
  const [guarded, open, payload, signature] = item.value
  malformed(!(guarded instanceof Uint8Array) || !(open instanceof Map) || !(payload instanceof Uint8Array) || !(signature instanceof Uint8Array))
  const headers = guarded.length ? cbor(guarded) : new Map()
  malformed(!(headers instanceof Map) || headers.has(2) || open.has(2))
  for (const name of headers.keys()) malformed(open.has(name))
  const kid = headers.get(4) ?? open.get(4)
  return { guarded, headers, payload, signature, kid: kid instanceof Uint8Array ? kid : NONE }
}

async function check (message, raw, refusal, external = NONE) {
  if (message.headers.get(1) !== algorithmOf(raw)) refuse('algorithm-not-allowed')
  const structure = join(head(4, 4), written('Signature1'), written(message.guarded), written(external), written(message.payload))
  if (!await holds(raw, message.signature, structure)) refuse(refusal)
  return message.payload
}

/* Roaring bitmaps, looked up where they lie (https://github.com/RoaringBitmap/RoaringFormatSpec) */

const COOKIE_PLAIN = 12346
const COOKIE_RUNS = 12347

/** A function that says whether a set in the portable roaring format has a number. Nothing is unpacked. */
export function roaring (bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const cookie = view.getUint32(0, true)
  const runs = (cookie & 0xffff) === COOKIE_RUNS
  malformed(!runs && cookie !== COOKIE_PLAIN)
  const size = runs ? (cookie >>> 16) + 1 : view.getUint32(4, true)
  let at = runs ? 4 : 8
  const flags = at
  if (runs) at += (size + 7) >> 3
  const isRun = place => runs && (view.getUint8(flags + (place >> 3)) >> (place & 7) & 1) === 1
  const boxes = new Map()
  const heads = at
  at += 4 * size
  const offsets = !runs || size >= 4 ? at : null
  if (offsets !== null) at += 4 * size
  let total = 0
  for (let place = 0; place < size; place++) {
    const high = view.getUint16(heads + 4 * place, true)
    const many = view.getUint16(heads + 4 * place + 2, true) + 1
    const from = offsets === null ? at : view.getUint32(offsets + 4 * place, true)
    boxes.set(high, { from, many, run: isRun(place) })
    total += many
    at = from + (isRun(place) ? 2 + 4 * view.getUint16(from, true) : many > 4096 ? 8192 : 2 * many)
  }
  function has (index) {
    const box = boxes.get(Math.floor(index / 65536))
    if (!box) return false
    const low = index % 65536
    if (!box.run && box.many > 4096) return (view.getUint8(box.from + (low >> 3)) >> (low & 7) & 1) === 1
    let [first, last] = [0, (box.run ? view.getUint16(box.from, true) : box.many) - 1]
    while (first <= last) {
      const middle = (first + last) >> 1
      const value = view.getUint16(box.run ? box.from + 2 + 4 * middle : box.from + 2 * middle, true)
      const length = box.run ? view.getUint16(box.from + 4 + 4 * middle, true) : 0
      if (low < value) last = middle - 1
      else if (low > value + length) first = middle + 1
      else return true
    }
    return false
  }
  return { has, size: total }
}

/* The bundle */

/** A signed inspection bundle, verified under the city's key: keys by city and id, deny lists by city. */
export async function readBundle (bytes, cityKey) {
  const found = cbor(await check(parse(bytes), cityKey, 'bad-signature', INSPECTION))
  const keys = new Map()
  for (const [city, entries] of found.get('issuer_keys')) {
    const known = []
    for (const [, raw, until] of entries) {
      if (raw.length !== 32 && raw.length !== 33) continue // an algorithm that browsers do not have: the city can tell
      known.push({ kid: await keyId(raw), raw, until })
    }
    keys.set(city, known)
  }
  const deny = new Map()
  for (const [city, list] of found.get('deny')) deny.set(city, roaring(list.get('base')))
  return { city: found.get('city'), madeAt: found.get('made_at') * 1000, notAfter: found.get('not_after') * 1000, keys, deny }
}

/* The code */

/** The digits of a T-Union number with its check digit right. */
function cardNumber (value) {
  const digits = String(value)
  malformed(!/^31\d{17}$/.test(digits))
  let sum = 0
  for (let place = 0; place < 19; place++) {
    let digit = Number(digits[18 - place])
    if (place % 2) { digit *= 2; if (digit > 9) digit -= 9 }
    sum += digit
  }
  malformed(sum % 10 !== 0)
  return digits
}

function staticPart (payload) {
  const claims = cbor(payload)
  malformed(!(claims instanceof Map))
  const whole = name => { const value = claims.get(name); malformed(!Number.isSafeInteger(value) && typeof value !== 'bigint'); return value }
  const device = claims.get(8) ?? NONE
  malformed(!(device instanceof Uint8Array))
  const use = claims.get(-3) ?? 0
  malformed(!(use in USES))
  return {
    issuer: String(whole(1)).padStart(6, '0'),
    number: cardNumber(whole(2)),
    expires: whole(4),
    issued: whole(6),
    index: whole(-2),
    device,
    use: USES[use],
    entitlements: (claims.get(-1) ?? []).map(([code, scope, day]) => ({
      code: typeof code === 'string' ? code : ENTITLEMENTS[code] ?? `unknown-${code}`,
      scope: String(scope).padStart(6, '0'),
      until: day * 86_400_000
    }))
  }
}

/** What a code says, or ``Refused`` with its reason. ``now`` is the corrected time in unix milliseconds. */
export async function verify (text, bundle, now) {
  const line = text.replace(/[\r\n]+$/, '')
  if (!line.startsWith('CC1:')) refuse('not-a-credential')
  malformed(line.length > 2048)
  const layers = cbor(fromBase45(line.slice(4)))
  malformed(!Array.isArray(layers) || (layers.length !== 1 && layers.length !== 3) || layers.some(part => !(part instanceof Uint8Array)))
  const [signed, dynamic, signature] = layers
  const message = parse(signed)
  const card = staticPart(message.payload)
  const known = bundle.keys.get(card.issuer) ?? refuse('unknown-issuer')
  const key = known.find(one => same(one.kid, message.kid)) ?? refuse('unknown-key')
  if (typeof key.until === 'number' && now > key.until * 1000) refuse('issuer-key-expired')
  await check(message, key.raw, 'bad-issuer-signature')
  if (card.number.slice(2, 8) !== card.issuer) refuse('wrong-issuer')
  const seconds = now / 1000
  const shown = reason => { const refused = new Refused(reason); refused.card = card; throw refused } // authentic from here on
  if (seconds < card.issued - AHEAD_MAX_S) shown('not-yet-valid')
  if (seconds >= card.expires) shown('expired')
  if (!card.device.length) {
    if (dynamic) shown('device-signature-unexpected')
  } else {
    if (!dynamic) shown('device-signature-missing')
    if (!await holds(card.device, signature, join(DOMAIN, signed, dynamic))) shown('bad-device-signature')
    const parts = cbor(dynamic)
    malformed(!Array.isArray(parts) || parts.length !== 2 || !parts.every(Number.isSafeInteger) || parts[1] < 0)
    if (parts[0] - seconds > AHEAD_MAX_S) shown('code-from-the-future')
    if (seconds - parts[0] > AGE_MAX_S) shown('code-too-old')
    card.counter = parts[1]
  }
  if (bundle.deny.get(card.issuer)?.has(card.index)) shown('card-blocked')
  return card
}
