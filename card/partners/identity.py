"""Who this process is in the federation: one city (or the hub), its address and its keys.

A process announces itself once when it starts; doors that receive only a database or a session find it there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.db import Database
from app.kernel.errors import Unavailable, msg
from app.kernel.settings import HUB_CODE, Settings
from app.kernel.signing import Key, Purpose


class TrustAnchorMissing(Unavailable):
    """The key of the trust anchor was not given at install; without it no partner can be believed."""

    code = "trust-anchor-missing"
    sentence = msg("The province's key is not installed here, so no other city can be trusted yet.")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What this process says of itself. ``url`` is its entity identifier (OpenID Federation 1.0, section 1.2)."""

    code: str
    name_en: str
    name_zh: str
    url: str
    hub_url: str
    keys_dir: Path
    anchor_file: Path

    @property
    def is_hub(self) -> bool:
        """Whether this is the trust anchor itself."""
        return self.code == HUB_CODE

    def key(self, purpose: Purpose) -> Key:
        """Our own current key for ``purpose``."""
        return signing.load_or_create(self.keys_dir, purpose)

    def anchor_keys(self) -> dict[str, Ed25519PublicKey]:
        """The pinned keys of the trust anchor by key id; raises :class:`TrustAnchorMissing` where none was installed."""
        if self.is_hub:
            own = self.key(Purpose.FEDERATION)
            return {own.kid: own.public}
        try:
            document = json.loads(self.anchor_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise TrustAnchorMissing(f"{self.anchor_file} does not exist") from error
        keys = [signing.key_from_jwk(item) for item in document["keys"]]
        return {signing.thumbprint(key): key for key in keys}


def of_settings(settings: Settings) -> Identity:
    """The identity that ``settings`` describe."""
    return Identity(
        code=settings.city_code,
        name_en=settings.city_name_en,
        name_zh=settings.city_name_zh,
        url=settings.public_url.rstrip("/"),
        hub_url=settings.hub_url.rstrip("/"),
        keys_dir=settings.keys_dir,
        anchor_file=settings.data_dir / settings.hub_jwks_file,
    )


INFO: Final = "partners.identity"


def announce(database: Database, settings: Settings) -> Identity:
    """Remember who uses ``database`` in this process."""
    found = of_settings(settings)
    database.info[INFO] = found
    return found


def of_database(database: Database) -> Identity:
    """Who uses ``database``."""
    return _known(database.info)


def of_session(session: Session) -> Identity:
    """Who uses the database of ``session``."""
    return _known(session.info)


def _known(info: Mapping[str, object]) -> Identity:
    found = info.get(INFO)
    assert isinstance(found, Identity), "this database was never told who uses it"
    return found
