"""Cards in the database: issued, bound to phones, blocked, replaced, expired; the deny list that follows."""

from datetime import UTC, date, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.kernel.city import city_of
from app.kernel.db import Database
from app.kernel.errors import IllegalMove
from app.kernel.ids import new_id
from app.kernel.signing import Purpose
from card import cards, ledger
from card.chip import KeyUse
from card.credentials import (
    TAP_USES,
    CredentialRefused,
    DenyList,
    Entitlement,
    Presentation,
    Reason,
    Use,
    chip_dynamic,
    chip_message,
    denials,
    issuing_city,
    numbers,
    present,
    present_chip,
    raw_public,
    to_text,
    verify,
)

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SENIOR = Entitlement(code="senior-70", scope_city="320100", expires_on=date(2027, 11, 21))


def issued(session: Session, **facts: object) -> cards.Card:
    return cards.issue(session, **{"holder_id": new_id(), "kind": cards.Kind.PHONE, "now": NOW, **facts})  # type: ignore[arg-type]


def seen(session: Session, code: str, *, now: datetime = NOW, uses: frozenset[Use] | None = None) -> Presentation:
    key = city_of(session).key(Purpose.CARD_ISSUER)
    more = {"uses": uses} if uses else {}
    return verify(code, issuer_keys={"320100": [(key.kid, key.public_bytes)]}, now=now, **more)


def test_an_issued_card_has_a_number_of_its_city_a_purse_and_ten_years(session: Session) -> None:
    card = issued(session)
    assert issuing_city(card.number) == "320100"
    assert (card.status, card.expires_on) == (cards.Status.ACTIVE, date(2036, 11, 21))
    assert ledger.balance(session, ledger.account_id(session, ledger.chart.purse(card.holder_id))).available_minor == 0
    assert cards.by_number(session, numbers.spaced(card.number)) == card
    with pytest.raises(cards.UnknownCard):
        cards.by_number(session, numbers.make("320100", 1))


def test_a_holder_has_one_live_card_of_each_kind(session: Session) -> None:
    card = issued(session)
    physical = issued(session, holder_id=card.holder_id, kind="physical")
    assert physical.status is cards.Status.ISSUED
    assert cards.activate(session, card_id=physical.id, now=NOW).status is cards.Status.ACTIVE
    with pytest.raises(cards.AlreadyHasCard):
        issued(session, holder_id=card.holder_id)
    assert [found.kind for found in cards.cards_of(session, card.holder_id)] == ["physical", "phone"]


def test_the_city_keeps_a_key_for_a_phone_that_cannot_and_its_counter_rises(session: Session) -> None:
    card = issued(session, entitlements=[SENIOR])
    first, second = (seen(session, cards.show_code(session, card_id=card.id, now=NOW).text) for _ in range(2))
    assert (first.number, first.counter, second.counter) == (card.number, 1, 2)
    assert first.device_kid == second.device_kid
    assert first.static.entitlements == (SENIOR,)
    (sealed,) = session.execute(text("SELECT private_sealed FROM card.card_device")).scalars()
    assert len(sealed) > 64


@pytest.mark.parametrize("curve", ["ed25519", "p256"])
def test_a_phone_with_a_key_of_its_own_renews_its_code_without_us(session: Session, curve: str) -> None:
    card = issued(session)
    if curve == "ed25519":
        phone: Ed25519PrivateKey | ec.EllipticCurvePrivateKey = Ed25519PrivateKey.generate()
        public = raw_public(phone.public_key())
    else:
        phone = ec.generate_private_key(ec.SECP256R1())
        public = phone.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)  # as WebCrypto exports
    static = cards.bind_device(session, card.id, public, NOW)
    assert cards.bind_device(session, card.id, public, NOW + timedelta(days=1)) == static
    later = NOW + timedelta(days=29)
    shown = to_text(present(static, device=phone, at=later, counter=9))
    assert seen(session, shown, now=later).counter == 9
    after = NOW + timedelta(days=30)
    with pytest.raises(CredentialRefused) as refused:
        seen(session, to_text(present(static, device=phone, at=after, counter=10)), now=after)
    assert refused.value.reason is Reason.EXPIRED
    with pytest.raises(cards.PhoneBoundElsewhere):
        cards.bind_device(session, issued(session).id, public, NOW)


def test_a_new_phone_ends_the_one_before_and_only_that(session: Session) -> None:
    card = issued(session)
    kept_here = seen(session, cards.show_code(session, card_id=card.id, now=NOW).text).static.status_index
    old, new = (raw_public(Ed25519PrivateKey.generate().public_key()) for _ in range(2))
    cards.bind_device(session, card.id, old, NOW)
    cards.bind_device(session, card.id, new, NOW)
    cards.publish_deny_list(session, now=NOW)
    by_kid = {device.ended_at is None: device.status_index for device in cards.devices_of(session, card.id)}
    denied = cards.deny_current(session)
    assert by_kid[False] in denied
    assert by_kid[True] not in denied
    assert kept_here not in denied
    assert card.status_index not in denied


def test_a_blocked_card_and_its_phones_enter_the_deny_list_and_leave_it_when_found(session: Session) -> None:
    card = issued(session)
    index = seen(session, cards.show_code(session, card_id=card.id, now=NOW).text).static.status_index
    cards.block(session, card_id=card.id, reason="lost", by="person:x", now=NOW)
    assert cards.publish_deny_list(session, now=NOW) == 1
    assert {index, card.status_index} <= set(cards.deny_current(session).denied)
    with pytest.raises(cards.CardNotActive):
        cards.show_code(session, card_id=card.id, now=NOW)
    with pytest.raises(IllegalMove):
        cards.block(session, card_id=card.id, reason="lost", by="person:x", now=NOW)
    cards.unblock(session, card_id=card.id, by="person:x", now=NOW)
    assert cards.publish_deny_list(session, now=NOW) == 2
    assert len(cards.deny_current(session)) == 0
    assert seen(session, cards.show_code(session, card_id=card.id, now=NOW).text).counter == 2


@pytest.mark.parametrize("first_block", [True, False])
def test_a_replaced_card_stays_denied_and_the_purse_stays_the_holders(database: Database, first_block: bool) -> None:
    with database.transaction() as session:
        old = issued(session)
        if first_block:
            cards.block(session, card_id=old.id, reason="stolen", by="person:x", now=NOW)
        new = cards.replace(session, card_id=old.id, by="person:x", now=NOW)
        assert (new.holder_id, new.status) == (old.holder_id, cards.Status.ACTIVE)
        assert new.number != old.number
    with database.transaction() as session:
        assert cards.get(session, old.id).replaced_by == new.id
        cards.publish_deny_list(session, now=NOW)
        assert old.status_index in cards.deny_current(session)
        assert new.status_index not in cards.deny_current(session)
        with pytest.raises(IllegalMove):
            cards.unblock(session, card_id=old.id, by="person:x", now=NOW)


def test_entitlements_are_extended_end_and_reach_the_next_credential(session: Session) -> None:
    card = issued(session)
    assert seen(session, cards.show_code(session, card_id=card.id, now=NOW).text).static.entitlements == ()
    for day in (date(2027, 1, 1), date(2028, 1, 1)):
        cards.grant_entitlement(
            session, holder_id=card.holder_id, code="senior-60", scope_city="320100", expires_on=day, now=NOW
        )
    held = Entitlement(code="senior-60", scope_city="320100", expires_on=date(2028, 1, 1))
    assert cards.entitlements_of(session, card.holder_id, date(2026, 11, 22)) == [held]
    assert cards.entitlements_of(session, card.holder_id, date(2028, 1, 2)) == []
    assert seen(session, cards.show_code(session, card_id=card.id, now=NOW).text).static.entitlements == (held,)
    cards.end_entitlement(
        session, holder_id=card.holder_id, code="senior-60", scope_city="320100", now=NOW, by="person:officer"
    )
    assert seen(session, cards.show_code(session, card_id=card.id, now=NOW).text).static.entitlements == ()


def test_one_layer_codes_are_short_lived_for_kiosks_and_never_for_gates_on_paper(session: Session) -> None:
    card = issued(session)
    kiosk = cards.one_layer(session, card_id=card.id, use=Use.KIOSK, now=NOW)
    assert seen(session, kiosk).number == card.number
    with pytest.raises(CredentialRefused) as late:
        seen(session, kiosk, now=NOW + timedelta(minutes=5))
    assert late.value.reason is Reason.EXPIRED
    paper = cards.one_layer(session, card_id=card.id, use=Use.PRINTED, now=NOW)
    with pytest.raises(CredentialRefused) as refused:
        seen(session, paper)
    assert refused.value.reason is Reason.USE_NOT_ACCEPTED
    assert seen(session, paper, uses=frozenset({Use.PRINTED})).number == card.number


@pytest.mark.parametrize(("day", "count"), [(date(2036, 11, 21), 0), (date(2036, 11, 22), 1)])
def test_a_card_expires_after_its_last_day(session: Session, day: date, count: int) -> None:
    card = issued(session)
    noon = datetime(day.year, day.month, day.day, 4, tzinfo=UTC)
    assert cards.expire(session, now=noon) == count
    session.expire_all()
    assert (cards.get(session, card.id).status is cards.Status.EXPIRED) is bool(count)


def test_many_blocks_make_one_delta_and_a_gate_follows_over_any_number_of_them(session: Session) -> None:
    held: DenyList | None = None
    for _ in range(3):
        for card in [issued(session) for _ in range(4)]:
            cards.block(session, card_id=card.id, reason="lost", by="system", now=NOW)
        cards.publish_deny_list(session, now=NOW)
        held = denials.take("320100", held, cards.deny_part(session, held.seq if held else None))
    assert held == cards.deny_current(session)
    assert (held.seq, len(held)) == (3, 12)
    assert cards.publish_deny_list(session, now=NOW) == 3  # nothing new, nothing published


def test_after_64_deltas_a_newcomer_gets_a_base_and_an_old_hand_only_what_is_new(session: Session) -> None:
    lists = [DenyList.empty("320100")]
    for _ in range(66):
        cards.block(session, card_id=issued(session).id, reason="lost", by="system", now=NOW)
        cards.publish_deny_list(session, now=NOW)
        lists.append(cards.deny_current(session))
    assert cards.deny_base(session).seq == 64
    fresh = cards.deny_part(session)
    assert (len(fresh["base"]) > 0, len(fresh["deltas"])) == (True, 2)  # type: ignore[arg-type]
    for start in (0, 63, 64, 66):
        part = cards.deny_part(session, start)
        assert denials.take("320100", lists[start] if start else None, part) == lists[66]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE card.deny_delta SET adds = ''",
        "DELETE FROM card.deny_delta",
        "DELETE FROM card.deny_base",
        "DELETE FROM card.card",
    ],
)
def test_the_application_cannot_rewrite_what_was_published(database: Database, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), database.transaction() as session:
        session.execute(text(statement))


def chip_of(session: Session, card: cards.Card, *, at: datetime = NOW) -> tuple[Ed25519PrivateKey, cards.ChipCredential]:
    key = Ed25519PrivateKey.generate()
    return key, cards.bind_chip(session, card_id=card.id, public_key=raw_public(key.public_key()), by="test", now=at)


def test_a_chip_is_put_into_a_plastic_card_and_opens_nothing_before_it_is_activated(session: Session) -> None:
    with pytest.raises(cards.NotAChipCard):
        chip_of(session, issued(session))
    card = issued(session, kind="physical", entitlements=[SENIOR])
    key, made = chip_of(session, card)
    cards.publish_deny_list(session, now=NOW)
    (device,) = cards.devices_of(session, card.id)
    assert (device.chip, device.kept_here, made.number) == (True, False, card.number)
    assert device.status_index in cards.deny_current(session)
    cards.activate(session, card_id=card.id, now=NOW)
    cards.publish_deny_list(session, now=NOW)
    assert device.status_index not in cards.deny_current(session)
    record = b"\x01\x01" + int(NOW.timestamp()).to_bytes(4, "big") + bytes(26)
    signature = key.sign(chip_message(made.credential, chip_dynamic(record, counter=1)))
    shown = present_chip(made.credential, record=record, counter=1, signature=signature)
    found = seen(session, to_text(shown), uses=TAP_USES)
    assert (found.static.use, found.static.entitlements, found.record) == (Use.CHIP, (SENIOR,), record)
    with pytest.raises(CredentialRefused) as refused:
        seen(session, to_text(shown))  # a picture of it is no QR for a gate
    assert refused.value.reason is Reason.USE_NOT_ACCEPTED


def test_blocking_a_card_blocks_its_chip_and_a_new_chip_ends_the_old_one(session: Session) -> None:
    card = issued(session, kind="physical")
    cards.activate(session, card_id=card.id, now=NOW)
    _, first = chip_of(session, card)
    _, second = chip_of(session, card)
    cards.publish_deny_list(session, now=NOW)
    indexes = {device.id: device.status_index for device in cards.devices_of(session, card.id)}
    denied = cards.deny_current(session)
    assert indexes[first.device_id] in denied
    assert indexes[second.device_id] not in denied
    cards.block(session, card_id=card.id, reason="lost", by="test", now=NOW)
    cards.publish_deny_list(session, now=NOW)
    assert indexes[second.device_id] in cards.deny_current(session)
    with pytest.raises(cards.CardNotActive):
        cards.renew_chip(session, card_id=card.id, by="test", now=NOW)
    with pytest.raises(cards.NotAChipCard):
        chip_of(session, card)


def test_a_chip_is_renewed_with_todays_entitlements(session: Session) -> None:
    card = issued(session, kind="physical")
    with pytest.raises(cards.UnknownChip):
        cards.renew_chip(session, card_id=card.id, by="test", now=NOW)
    _, made = chip_of(session, card)
    cards.grant_entitlement(
        session, holder_id=card.holder_id, code="senior-70", scope_city="320100", expires_on=SENIOR.expires_on, now=NOW
    )
    renewed = cards.renew_chip(session, card_id=card.id, by="test", now=NOW + timedelta(days=300))
    assert renewed.device_id == made.device_id
    assert renewed.good_until == made.good_until + timedelta(days=300)


def test_the_citys_master_keys_are_made_once_and_kept_from_others(database: Database, session: Session) -> None:
    city = city_of(session)
    first = cards.master(city, KeyUse.JOURNEY)
    assert cards.master(city, KeyUse.JOURNEY) == first != cards.master(city, KeyUse.ADMIN)
    assert {path.stat().st_mode & 0o077 for path in city.keys_dir.glob("chip-*.key")} == {0}
    number = issued(session).number
    assert len({*cards.journey_keys(city, number), *cards.journey_keys(city, issued(session).number)}) == 4
