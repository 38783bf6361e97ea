"""Access tokens for machines: OAuth 2.0 client credentials with ``private_key_jwt``."""

from app.web.oauth.clients import Client, UnknownClient, close, find, listed, register, replace_keys
from app.web.oauth.models import ClientTaken
from app.web.oauth.server import TokenRefused, install

__all__ = [
    "Client",
    "ClientTaken",
    "TokenRefused",
    "UnknownClient",
    "close",
    "find",
    "install",
    "listed",
    "register",
    "replace_keys",
]
