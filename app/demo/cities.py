"""The demonstration's map: the province and two of its cities, each with its own database, keys, ports and secrets."""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from app.kernel.settings import Settings

STRIPE_OFFSET: Final = 420  # localstripe listens at PORT_BASE + 420
FLEET_PER_MINUTE: Final = 1200  # `make fleet` enrols hundreds of gates from this one machine


@dataclass(frozen=True, kw_only=True)
class City:
    """One member of the demonstration: ``offset`` is added to the base port, ``database`` is its database's name."""

    code: str
    name_en: str
    name_zh: str
    offset: int
    database: str


HUB: Final = City(code="320000", name_en="Jiangsu Province", name_zh="江苏省", offset=0, database="hub")
NANJING: Final = City(code="320100", name_en="Nanjing", name_zh="南京市", offset=1, database="nanjing")
SUZHOU: Final = City(code="320500", name_en="Suzhou", name_zh="苏州市", offset=2, database="suzhou")
CITIES: Final = (HUB, NANJING, SUZHOU)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a demonstration runs: its base port and its folder (``PORT_BASE`` and ``DATA_DIR`` of the environment)."""

    port_base: int
    folder: Path

    @classmethod
    def from_env(cls) -> "Place":
        """Port 8000 and ``var/`` unless the environment says otherwise."""
        return cls(port_base=int(os.environ.get("PORT_BASE", "8000")), folder=Path(os.environ.get("DATA_DIR", "var")).resolve())

    def port(self, city: City) -> int:
        """The port of a city's web server."""
        return self.port_base + city.offset

    def url(self, city: City) -> str:
        """The address of a city."""
        return f"http://localhost:{self.port(city)}"

    @property
    def stripe_port(self) -> int:
        """The port of localstripe."""
        return self.port_base + STRIPE_OFFSET

    @property
    def ports(self) -> dict[int, str]:
        """Every port that must be free, with who wants it."""
        return {self.port(city): city.name_en for city in CITIES} | {self.stripe_port: "localstripe"}


def _secrets_of(place: Place, city: City) -> dict[str, str]:
    """The city's secrets: made once, kept in its folder, readable by its owner only."""
    file = place.folder / city.database / "secrets.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = {
            "secret_key": secrets.token_urlsafe(48),
            "field_key": base64.b64encode(secrets.token_bytes(32)).decode(),
            "stripe_webhook_secret": f"whsec_{secrets.token_hex(16)}",
        }
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(made))
        fresh.chmod(0o600)
        fresh.replace(file)
    return dict(json.loads(file.read_text()))


def settings_of(place: Place, city: City, database_url: str) -> Settings:
    """The settings of a city of the demonstration."""
    kept = _secrets_of(place, city)
    stripe = f"http://localhost:{place.stripe_port}"
    return Settings(
        city_code=city.code,
        city_name_en=city.name_en,
        city_name_zh=city.name_zh,
        public_url=place.url(city),
        hub_url=place.url(HUB),
        database_url=database_url,
        data_dir=place.folder / city.database,
        secret_key=SecretStr(kept["secret_key"]),
        field_key=SecretStr(kept["field_key"]),
        stripe_api_base=stripe,
        stripe_public_base=stripe,
        stripe_secret_key=SecretStr("sk_test_demonstration"),
        stripe_publishable_key="pk_test_demonstration",
        stripe_webhook_secret=SecretStr(kept["stripe_webhook_secret"]),
        demonstration=True,
        enrolments_per_minute=FLEET_PER_MINUTE,
        log_level=os.environ.get("LOG_LEVEL", "INFO"),
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """``settings`` as the environment variables of a child process."""
    values: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        values[name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return values
