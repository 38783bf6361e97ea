"""Refusals: exceptions with a permanent public code and a clear sentence. A bug is an assert, never one of these.

A refusal's ``sentence`` is an English message id; ``app/web/problems.py`` translates it. ``%(name)s`` placeholders are
filled from the keyword arguments given when it is raised. ``docs/reference/errors.md`` lists every code; a test compares.
"""

from typing import ClassVar


def msg(message: str) -> str:
    """Mark ``message`` for translation without translating it now (babel extracts calls of this name)."""
    return message


class Refusal(Exception):
    """The request was understood and is refused."""

    code: ClassVar[str] = "refused"
    sentence: ClassVar[str] = msg("The request was refused.")
    status: ClassVar[int] = 400
    retry_after_seconds: ClassVar[int | None] = None  # how long a caller does well to wait before the next attempt

    def __init__(self, detail: str = "", **params: str | int) -> None:
        """``detail`` is for logs and machines; ``params`` fill the sentence and are given to the caller."""
        super().__init__(detail or type(self).sentence)
        self.detail = detail
        self.params = params


class Invalid(Refusal):
    """Input that breaks a rule; ``fields`` names each field and what is wrong with it (a message id)."""

    code = "invalid-input"
    sentence = msg("Some of what was sent is not valid. Each field says what is wrong.")
    status = 422

    def __init__(self, detail: str = "", *, fields: dict[str, str] | None = None, **params: str | int) -> None:
        super().__init__(detail, **params)
        self.fields = fields or {}


class Unauthenticated(Refusal):
    """Nobody is signed in, or the credential does not verify."""

    code = "not-signed-in"
    sentence = msg("Sign in to continue.")
    status = 401


class Forbidden(Refusal):
    """The caller is known and may not do this."""

    code = "not-allowed"
    sentence = msg("You are not allowed to do this.")
    status = 403


class NotFound(Refusal):
    """There is no such thing, or it is not the caller's to see."""

    code = "not-found"
    sentence = msg("We could not find what you asked for.")
    status = 404


class Conflict(Refusal):
    """The present state does not admit this."""

    code = "conflict"
    sentence = msg("This cannot be done in the present state.")
    status = 409


class TooMany(Refusal):
    """The caller asks too often."""

    code = "too-many-requests"
    sentence = msg("Too many requests. Wait a moment and try again.")
    status = 429


class Unavailable(Refusal):
    """Something this depends on does not answer now; trying again later is safe."""

    code = "unavailable"
    sentence = msg("A service this depends on does not answer. Nothing was lost; try again in a moment.")
    status = 503
    retry_after_seconds = 5


class FourEyes(Forbidden):
    """The approver must not be the preparer."""

    code = "four-eyes"
    sentence = msg("Somebody else has to approve this: you prepared it.")


class IllegalMove(Conflict):
    """The state machine has no such move."""

    code = "illegal-move"
    sentence = msg("This step is not possible now: the state is “%(state)s”.")


def all_refusals() -> list[type[Refusal]]:
    """Every refusal class known, for the registry tests and the documentation."""
    found: list[type[Refusal]] = []
    waiting: list[type[Refusal]] = [Refusal]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return sorted(set(found), key=lambda kind: kind.code)
