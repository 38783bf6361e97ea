"""The terminal's way to its city: plain HTTP requests with a proof, and nothing that a small device would not carry."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from card.credentials import prove
from card.validator.keys import PrivateKey

TIMEOUT_S: Final = 10
CLOCK_LOST: Final = timedelta(minutes=4)  # a proof is good for five
CBOR: Final = "application/cbor"


class CityUnreachable(Exception):
    """No answer. The gate goes on without."""


class CityRefused(Exception):
    """The city answered and said no; ``code`` is its reason, ``skew_ms`` its clock as in :class:`Answer`."""

    def __init__(self, status: int, code: str, detail: str, skew_ms: int | None = None) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.skew_ms = status, code, skew_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back, with the server's clock against ours (``skew_ms`` is what to add to ours; none where it did not say)."""

    body: bytes
    skew_ms: int | None


class City:
    """One city's transit interface as an enrolled terminal calls it."""

    def __init__(self, server: str, clock_ms: Callable[[], int]) -> None:
        """``clock_ms`` is the terminal's own clock, against which the server's is measured."""
        if urlsplit(server).scheme not in ("http", "https"):
            raise CityUnreachable(f"{server} is not an address")
        self._server, self._clock_ms = server.rstrip("/"), clock_ms
        self._opener: OpenerDirector = build_opener(ProxyHandler({}))

    def enrol(self, document: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        """Hand in a one-time token and a public key; the answer, and the skew."""
        body = json.dumps(document).encode()
        answer = self._send("POST", "/api/transit/terminals/enrol", body, {"Content-Type": "application/json"})
        found = json.loads(answer.body)
        if not isinstance(found, dict):
            raise CityUnreachable("the answer is not an object")
        return found, answer.skew_ms

    def get(self, path: str, *, key: PrivateKey, terminal_id: str, at: datetime) -> Answer:
        """A signed GET."""
        return self._signed("GET", path, None, key=key, terminal_id=terminal_id, at=at)

    def post(self, path: str, body: bytes, *, key: PrivateKey, terminal_id: str, at: datetime) -> Answer:
        """A signed POST of CBOR."""
        return self._signed("POST", path, body, key=key, terminal_id=terminal_id, at=at)

    def _signed(self, method: str, path: str, body: bytes | None, *, key: PrivateKey, terminal_id: str, at: datetime) -> Answer:
        def send(moment: datetime) -> Answer:
            proof = prove(key, terminal_id=terminal_id, method=method, path=path, body=body or b"", at=moment)
            kind = {"Content-Type": CBOR} if body is not None else {}
            return self._send(method, path, body, {"Authorization": proof, "Accept": CBOR, **kind})

        try:
            return send(at)
        except CityRefused as refused:
            if refused.skew_ms is None:
                raise
            theirs = datetime.fromtimestamp((self._clock_ms() + refused.skew_ms) / 1000, tz=UTC)
            if abs(theirs - at) < CLOCK_LOST:
                raise
            return send(theirs)  # the clock was lost with the power: a proof is dated by the city's

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        request = Request(self._server + path, data=body, headers=headers, method=method)  # noqa: S310  scheme checked above
        began = self._clock_ms()
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                content, said = response.read(), response.headers
        except HTTPError as error:
            with error:
                skew_ms = self._skew(error.headers, began)
                raise _refused(error.code, error.read(), skew_ms) from error
        except (URLError, OSError, HTTPException, ValueError) as error:  # the third: an answer that was cut off
            raise CityUnreachable(f"{self._server}: {getattr(error, 'reason', error)}") from error
        return Answer(body=content, skew_ms=self._skew(said, began))

    def _skew(self, said: Message, began_ms: int) -> int | None:
        return _skew_ms(said.get("X-Server-Time"), said.get("Date"), began_ms, self._clock_ms())


def _refused(status: int, body: bytes, skew_ms: int | None) -> CityRefused:
    try:
        problem = json.loads(body)
        detail = str(problem.get("detail") or problem.get("title") or "")
        return CityRefused(status, str(problem.get("code", "")), detail, skew_ms)
    except (ValueError, AttributeError):
        return CityRefused(status, "", "", skew_ms)


def _skew_ms(exact: str | None, date: str | None, began_ms: int, ended_ms: int) -> int | None:
    """The server's clock minus ours, from ``X-Server-Time`` (unix ms) or, to the second, from ``Date``.

    The answer was made somewhere between ``began_ms`` and ``ended_ms``: a difference that the way there and back explains is
    none, so that two gates with good clocks keep the order of a rider's taps.
    """
    ours, doubt = (began_ms + ended_ms) // 2, (ended_ms - began_ms + 1) // 2
    try:
        if exact is not None:
            found = int(exact) - ours
        elif date is not None:
            found, doubt = int(parsedate_to_datetime(date).timestamp() * 1000) + 500 - ours, doubt + 500
        else:
            return None
    except (ValueError, TypeError):
        return None
    return 0 if abs(found) <= doubt else found
