"""The shape of what machines send: frozen, and with nothing in it that we do not know."""

from pydantic import BaseModel, ConfigDict


class Input(BaseModel):
    """Base of every request body and query: an unknown field is refused by name, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)
