"""Proving who one is: password, one-time code, recovery code, passkey.

Outcomes are returned, not raised, because a failure is itself written down: the edge commits it and then answers.
"""

import hashlib
import json
import math
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.kernel import audit, ids
from app.kernel.db import Json
from app.kernel.errors import Conflict, Invalid, NotFound, msg
from app.kernel.sealing import sealer_of
from services.people import queries, rules
from services.people.models import Passkey, Person, RecoveryCode, SignInFailure
from services.people.rules import SignInFailed

hasher: Final = PasswordHasher()  # argon2id with the low-memory parameters of RFC 9106
NOBODY: Final = hasher.hash(secrets.token_hex())  # checked for unknown names, so that they take as long as known ones
TOTP_SECONDS: Final = 30
RECOVERY_CODES: Final = 10


class WrongPassword(Invalid):
    """The present password does not match."""

    code = "wrong-password"
    sentence = msg("This is not your present password.")


class WrongCode(Invalid):
    """The one-time code does not match or was used before."""

    code = "wrong-code"
    sentence = msg("This code is not right or was used already. Wait for the next one.")


class TotpIsOn(Conflict):
    """One-time codes are set up already."""

    code = "totp-is-on"
    sentence = msg("One-time codes are on already.")


class PasskeyRefused(Invalid):
    """The browser's answer does not verify."""

    code = "passkey-refused"
    sentence = msg("This passkey could not be verified. Try again.")


class UnknownPasskey(NotFound):
    """No such passkey of this person."""

    code = "unknown-passkey"
    sentence = msg("You have no such passkey.")


class Step(StrEnum):
    """Where an attempt to sign in leads."""

    IN = "in"
    CODE = "code"  # the password was right; a one-time code is asked for next
    FAILED = "failed"
    LOCKED = "locked"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The outcome of one attempt. ``person_id`` is set for ``IN`` and ``CODE``, ``minutes`` for ``LOCKED``."""

    step: Step
    person_id: UUID | None = None
    minutes: int = 0


@dataclass(frozen=True, kw_only=True)
class Site:
    """Who the browser believes it is talking to (WebAuthn, 5.1.2): the relying party's domain and origin."""

    domain: str
    origin: str
    name: str


@dataclass(frozen=True, kw_only=True)
class PasskeyView:
    """A passkey as its owner sees it."""

    id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class SecurityView:
    """What protects an account."""

    has_password: bool
    totp_since: datetime | None
    recovery_codes_left: int
    passkeys: tuple[PasskeyView, ...]


# --- failures in a row ---


def _digest(session: Session, username: str) -> bytes:
    return sealer_of(session).index(username.strip().lower(), purpose="services.sign_in_failure.username_digest")


def _locked(session: Session, username: str, now: datetime) -> Attempt | None:
    row = session.get(SignInFailure, _digest(session, username))
    until = rules.locked_until(failures=row.failures, last_failure_at=row.last_at) if row else None
    if until is None or until <= now:
        return None
    return Attempt(step=Step.LOCKED, minutes=math.ceil((until - now) / timedelta(minutes=1)))


def _failed(session: Session, username: str, now: datetime) -> Attempt:
    fresh = insert(SignInFailure).values(username_digest=_digest(session, username), failures=1, last_at=now)
    forgotten = SignInFailure.last_at < now - rules.FAILURES_FORGOTTEN_AFTER
    session.execute(
        fresh.on_conflict_do_update(
            index_elements=[SignInFailure.username_digest],
            set_={"failures": case((forgotten, 1), else_=SignInFailure.failures + 1), "last_at": now},
        )
    )
    session.expire_all()
    return _locked(session, username, now) or Attempt(step=Step.FAILED)


def _entered(session: Session, person: Person, now: datetime, *, how: str) -> Attempt:
    if person.username:
        session.execute(delete(SignInFailure).where(SignInFailure.username_digest == _digest(session, person.username)))
    audit.record(
        session,
        actor=f"person:{person.id}",
        action="person.sign-in",
        subject=f"person:{person.id}",
        at=now,
        details={"how": how},
    )
    return Attempt(step=Step.IN, person_id=person.id)


# --- password and code ---


def _matches(stored: str | None, password: str) -> bool:
    try:
        return hasher.verify(stored or NOBODY, password) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False


def try_password(session: Session, *, username: str, password: str, now: datetime) -> Attempt:
    """One attempt with a password. Every failure looks alike; several in a row pause sign-in under this name."""
    locked = _locked(session, username, now)
    if locked:
        return locked
    person = session.scalars(
        select(Person).where(Person.username == username.strip().lower(), Person.closed_at.is_(None))
    ).one_or_none()
    if not _matches(person.password_hash if person else None, password[: rules.PASSWORD_LENGTH_MAX]) or person is None:
        return _failed(session, username, now)
    if person.password_hash and hasher.check_needs_rehash(person.password_hash):
        person.password_hash = hasher.hash(password)
    if person.totp_confirmed_at is not None:
        return Attempt(step=Step.CODE, person_id=person.id)
    return _entered(session, person, now, how="password")


def try_code(session: Session, *, person_id: UUID, code: str, now: datetime) -> Attempt:
    """The second step: a one-time code of the authenticator, or one of the recovery codes. Each counts once."""
    person = queries.row(session, person_id, lock=True)
    username = person.username or str(person_id)
    locked = _locked(session, username, now)
    if locked:
        return locked
    typed = "".join(code.split()).replace("-", "").lower()
    if _totp_counts(session, person, typed, now):
        return _entered(session, person, now, how="password+totp")
    if _recovery_counts(session, person, typed, now):
        return _entered(session, person, now, how="password+recovery-code")
    return _failed(session, username, now)


def _totp_context(person_id: UUID) -> str:
    return f"services.person.totp_sealed:{person_id}"


def _totp_counts(session: Session, person: Person, code: str, now: datetime) -> bool:
    """Whether ``code`` is of this step, the one before or the one after, and of no step that was used (RFC 6238, 5.2)."""
    if person.totp_sealed is None or not code.isascii() or not code.isdigit():
        return False
    totp = pyotp.TOTP(sealer_of(session).open(person.totp_sealed, context=_totp_context(person.id)), interval=TOTP_SECONDS)
    step = int(now.timestamp()) // TOTP_SECONDS
    for candidate in (step, step - 1, step + 1):
        if candidate > person.totp_last_step and secrets.compare_digest(totp.generate_otp(candidate), code):
            person.totp_last_step = candidate
            return True
    return False


def _recovery_digest(person_id: UUID, code: str) -> bytes:
    return hashlib.sha256(f"{person_id}:{code}".encode()).digest()


def _recovery_counts(session: Session, person: Person, code: str, now: datetime) -> bool:
    used = session.execute(
        update(RecoveryCode)
        .where(
            RecoveryCode.person_id == person.id,
            RecoveryCode.digest == _recovery_digest(person.id, code),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now)
        .returning(RecoveryCode.person_id)
    )
    return used.one_or_none() is not None


# --- settings of one's own account ---


def security_of(session: Session, person_id: UUID) -> SecurityView:
    """What protects this person's account."""
    person = queries.row(session, person_id)
    keys = session.scalars(select(Passkey).where(Passkey.person_id == person_id).order_by(Passkey.created_at, Passkey.id))
    left = session.scalar(select(func.count()).where(RecoveryCode.person_id == person_id, RecoveryCode.used_at.is_(None)))
    return SecurityView(
        has_password=person.password_hash is not None,
        totp_since=person.totp_confirmed_at,
        recovery_codes_left=left or 0,
        passkeys=tuple(
            PasskeyView(id=key.id, name=key.name, created_at=key.created_at, last_used_at=key.last_used_at) for key in keys
        ),
    )


def _require_password(person: Person, password: str) -> None:
    if person.password_hash is not None and not _matches(person.password_hash, password):
        raise WrongPassword(fields={"current": WrongPassword.sentence})


def _noted(session: Session, person: Person, action: str, now: datetime) -> None:
    actor = f"person:{person.id}"
    audit.record(session, actor=actor, action=action, subject=actor, at=now)


def end_sessions(session: Session, *, person_id: UUID, now: datetime) -> str:
    """End every session of this person; the answer is the key of the one that may go on."""
    person = queries.row(session, person_id, lock=True)
    person.session_stamp = ids.new_id()
    _noted(session, person, "person.end-sessions", now)
    session.flush()
    return queries.session_key(session, person_id)


def change_password(session: Session, *, person_id: UUID, current: str, new: str, now: datetime) -> str:
    """Replace the password and end every session; the answer is the key of the one that may go on.

    Raises :class:`WrongPassword` and ``Invalid`` by field.
    """
    person = queries.row(session, person_id, lock=True)
    _require_password(person, current)
    person.password_hash = hasher.hash(rules.acceptable_password(new, name=person.username or ""))
    _noted(session, person, "person.change-password", now)
    return end_sessions(session, person_id=person_id, now=now)


def begin_totp(session: Session, *, person_id: UUID, issuer: str) -> str:
    """The ``otpauth://`` address to scan. The same one until it is confirmed. Raises :class:`TotpIsOn`."""
    person = queries.row(session, person_id, lock=True)
    if person.totp_confirmed_at is not None:
        raise TotpIsOn
    sealer = sealer_of(session)
    if person.totp_sealed is None:
        person.totp_sealed = sealer.seal(pyotp.random_base32(), context=_totp_context(person_id))
    secret = sealer.open(person.totp_sealed, context=_totp_context(person_id))
    address = pyotp.TOTP(secret, interval=TOTP_SECONDS).provisioning_uri(
        name=person.username or person.name, issuer_name=issuer
    )
    return str(address)


def confirm_totp(session: Session, *, person_id: UUID, code: str, now: datetime) -> list[str]:
    """Turn one-time codes on with a first code; the answer is the recovery codes, which are shown this once.

    Raises :class:`WrongCode`, :class:`TotpIsOn`.
    """
    person = queries.row(session, person_id, lock=True)
    if person.totp_confirmed_at is not None:
        raise TotpIsOn
    if not _totp_counts(session, person, "".join(code.split()), now):
        raise WrongCode(fields={"code": WrongCode.sentence})
    person.totp_confirmed_at = now
    _noted(session, person, "person.turn-totp-on", now)
    return _new_recovery_codes(session, person_id)


def _new_recovery_codes(session: Session, person_id: UUID) -> list[str]:
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person_id))
    codes = [secrets.token_hex(5) for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(person_id=person_id, digest=_recovery_digest(person_id, code)) for code in codes)
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def remove_totp(session: Session, *, person_id: UUID, password: str, now: datetime) -> None:
    """Turn one-time codes off. Raises :class:`WrongPassword`."""
    person = queries.row(session, person_id, lock=True)
    _require_password(person, password)
    person.totp_sealed, person.totp_confirmed_at = None, None
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person_id))
    _noted(session, person, "person.turn-totp-off", now)


# --- passkeys ---


def passkey_creation(session: Session, *, person_id: UUID, site: Site) -> tuple[str, str]:
    """What the browser needs to make a passkey (JSON), and the challenge to keep until it answers."""
    person = queries.row(session, person_id)
    known = session.scalars(select(Passkey.credential_id).where(Passkey.person_id == person_id))
    options = generate_registration_options(
        rp_id=site.domain,
        rp_name=site.name,
        user_id=person_id.bytes,
        user_name=person.username or str(person_id),
        user_display_name=person.name,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=credential) for credential in known],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
    )
    text = options_to_json(options)
    return text, str(json.loads(text)["challenge"])


def add_passkey(
    session: Session, *, person_id: UUID, answer: Json, challenge: str, name: str, site: Site, now: datetime
) -> None:
    """Keep the passkey that the browser made. Raises :class:`PasskeyRefused`."""
    try:
        verified = verify_registration_response(
            credential=answer,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=site.domain,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise PasskeyRefused(str(error)) from error
    person = queries.row(session, person_id, lock=True)
    session.add(
        Passkey(
            id=ids.new_id(),
            person_id=person_id,
            credential_id=verified.credential_id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            name=name.strip()[:60],
            created_at=now,
        )
    )
    _noted(session, person, "person.add-passkey", now)


def remove_passkey(session: Session, *, person_id: UUID, passkey_id: UUID, now: datetime) -> None:
    """Forget a passkey. Raises :class:`UnknownPasskey`."""
    key = session.get(Passkey, passkey_id)
    if key is None or key.person_id != person_id:
        raise UnknownPasskey
    session.delete(key)
    _noted(session, queries.row(session, person_id), "person.remove-passkey", now)


def passkey_request(site: Site) -> tuple[str, str]:
    """What the browser needs to sign in with any passkey of this site (JSON), and the challenge to keep."""
    options = generate_authentication_options(rp_id=site.domain, user_verification=UserVerificationRequirement.REQUIRED)
    text = options_to_json(options)
    return text, str(json.loads(text)["challenge"])


def enter_by_passkey(session: Session, *, answer: Json, challenge: str, site: Site, now: datetime) -> UUID:
    """Who holds the passkey that answered. Raises ``SignInFailed``.

    A passkey is two factors by itself (the device, and what unlocks it), so no code follows and no pause applies.
    """
    try:
        key = session.scalars(
            select(Passkey).where(Passkey.credential_id == base64url_to_bytes(str(answer["rawId"]))).with_for_update()
        ).one_or_none()
        if key is None:
            raise SignInFailed("unknown passkey")
        verified = verify_authentication_response(
            credential=answer,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=site.domain,
            expected_origin=site.origin,
            credential_public_key=key.public_key,
            credential_current_sign_count=key.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise SignInFailed(str(error)) from error
    key.sign_count, key.last_used_at = verified.new_sign_count, now
    person = queries.row(session, key.person_id)
    _entered(session, person, now, how="passkey")
    return person.id
