"""The signature library agrees with the published vectors of RFC 9421, appendix B.2."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

from card.partners.rules import Request

CREATED = datetime.fromtimestamp(1618884473, UTC)
SECRET = base64.b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
PRIVATE = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU="))


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id: str) -> Any:
        return SECRET if key_id == "test-shared-secret" else PRIVATE

    def resolve_public_key(self, key_id: str) -> Any:
        return SECRET if key_id == "test-shared-secret" else PRIVATE.public_key()


def request() -> Request:
    return Request(
        method="POST",
        url="https://example.com/foo?param=Value&Pet=dog",
        headers={
            "Host": "example.com",
            "Date": "Tue, 20 Apr 2021 02:07:55 GMT",
            "Content-Type": "application/json",
            "Content-Digest": (
                "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
            ),
            "Content-Length": "18",
        },
    )


@pytest.mark.parametrize(
    ("label", "algorithm", "key_id", "components", "signature"),
    [
        (
            "sig-b25",
            algorithms.HMAC_SHA256,
            "test-shared-secret",
            ("date", "@authority", "content-type"),
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
        ),
        (
            "sig-b26",
            algorithms.ED25519,
            "test-key-ed25519",
            ("date", "@method", "@path", "@authority", "content-type", "content-length"),
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
        ),
    ],
)
def test_the_library_makes_and_verifies_the_published_signatures(
    label: str, algorithm: Any, key_id: str, components: tuple[str, ...], signature: str
) -> None:
    message = request()
    HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=Keys()).sign(
        message,
        key_id=key_id,
        created=CREATED,
        label=label,
        include_alg=False,
        covered_component_ids=components,
        use_existing_digest=True,
    )
    assert message.headers["Signature"] == f"{label}=:{signature}:"
    covered = " ".join(f'"{name}"' for name in components)
    assert message.headers["Signature-Input"] == f'{label}=({covered});created=1618884473;keyid="{key_id}"'

    class AtAnyTime(HTTPMessageVerifier):
        def validate_created_and_expires(self, *_: Any, **__: Any) -> None:
            """The vectors are of 2021."""

    assert AtAnyTime(signature_algorithm=algorithm, key_resolver=Keys()).verify(message, max_age=None)
