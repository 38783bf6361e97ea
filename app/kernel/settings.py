"""What a deployment may choose. Every field is documented in ``docs/reference/settings.md``; a test compares the two."""

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

HUB_CODE: Final = "320000"


class Settings(BaseSettings):
    """One city's settings, read from the environment (names are the field names in upper case).

    Codes of cities are six-digit administrative division codes (GB/T 2260); ``320000`` is the province and runs the hub.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    city_code: str = Field("320100", pattern=r"^\d{6}$", description="Administrative division code of this city.")
    city_name_en: str = Field("Nanjing", description="The city's name in English.")
    city_name_zh: str = Field("南京市", description="The city's name in Chinese.")
    public_url: str = Field("http://localhost:8001", description="The address residents and partners use, no slash at the end.")
    hub_url: str = Field("http://localhost:8000", description="Address of the province hub, the trust anchor.")
    hub_jwks_file: Path = Field(
        Path("hub.jwks.json"), description="The hub's public federation key (JWK set), pinned at install; relative to DATA_DIR."
    )
    database_url: str = Field(description="PostgreSQL 15 or newer; the login must own the database: migrations run as it.")
    database_application_url: str = Field(
        "", description="The application's own login (`flask logins`); empty: DATABASE_URL, living as the role city_app."
    )
    database_sealer_url: str = Field("", description="The sealer's own login; empty: DATABASE_URL, living as city_sealer.")
    database_reports_url: str = Field("", description="The reports' own login; empty: DATABASE_URL, living as city_reports.")
    database_pool_size: int = Field(10, ge=1, description="Connections each process may keep open.")
    data_dir: Path = Field(Path("var"), description="Where keys and uploaded files are kept.")
    secret_key: SecretStr = Field(description="Signs sessions and form tokens; at least 32 random bytes.")
    field_key: SecretStr = Field(
        description="Base64 of 32 bytes; encrypts identity numbers at rest and keys their blind index."
    )
    ledger_suite: int = Field(
        1,
        ge=1,
        le=2,
        description="How the books are sealed: 1 is SHA-256 and Ed25519, 2 is SM3 and SM2. Chosen once.",
    )
    stripe_api_base: str = Field("https://api.stripe.com", description="Address of Stripe, or of localstripe.")
    stripe_public_base: str = Field(
        "https://js.stripe.com", description="Where a browser loads the card form's script from, and may send to."
    )
    stripe_secret_key: SecretStr = Field(SecretStr("sk_test_demo"), description="Stripe's secret key.")
    stripe_publishable_key: str = Field("pk_test_demo", description="Stripe's publishable key.")
    stripe_webhook_secret: SecretStr = Field(SecretStr("whsec_demo"), description="Signs Stripe's webhooks to us.")
    smtp_url: str = Field("", description="smtp://host:port for outgoing mail; empty keeps messages in the inbox only.")
    cookie_secure: bool = Field(default=False, description="Send cookies over HTTPS only; required outside a demonstration.")
    trusted_proxies: int = Field(0, ge=0, description="How many reverse proxies stand before the server.")
    demonstration: bool = Field(default=False, description="Shows the demonstration banner and its fictional people.")
    enrolments_per_minute: int = Field(
        30, ge=1, description="How many terminals one network address may try to enrol in a minute, with tokens good or bad."
    )
    live_streams_max: int = Field(
        2,
        ge=0,
        description="Live pages that one process streams to at a time: each holds a thread; whoever comes later asks again.",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @property
    def is_hub(self) -> bool:
        """Whether this process is the province hub rather than a city."""
        return self.city_code == HUB_CODE

    @property
    def keys_dir(self) -> Path:
        """The folder of this city's private keys."""
        return self.data_dir / "keys"

    @classmethod
    def from_env(cls) -> "Settings":
        """Read the environment; pydantic names every field that is missing or wrong."""
        return cls()
