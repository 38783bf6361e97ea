"""Outgoing HTTP: one client with timeouts, no redirects and no proxy of the environment."""

from typing import Final

import httpx

TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)


def client() -> httpx.Client:
    """A client for one conversation; close it (``with http.client() as peer``)."""
    return httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False)
