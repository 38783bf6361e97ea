"""Federated cities: trust, keys, agreements, signed messages.

The hub (320000) is the trust anchor of an OpenID Federation 1.0; cities are its immediate subordinates. A city is given the
hub's key once, at install; everything else is resolved along the chain and refreshed by a job. Messages between cities carry
HTTP Message Signatures (RFC 9421) in both directions and are kept.
"""

from card.partners.actions import admit, own_configuration, refuse, request_join, suspend, withdraw
from card.partners.api import authenticate, install
from card.partners.gateway import ask_to_join, refresh, send
from card.partners.identity import TrustAnchorMissing, of_settings
from card.partners.queries import (
    City,
    Entry,
    Exchange,
    cities,
    city,
    directory,
    exchanges,
    issuer_keys,
    own_city,
    own_issuer_key,
)
from card.partners.rules import (
    CodeTaken,
    MessageExpired,
    MessageReplayed,
    NoSuchPartner,
    NotTheHub,
    PartnerRefused,
    PartnerUnavailable,
    State,
    StatementRefused,
    UnknownCity,
    WrongAuthority,
)
from card.partners.trust import federation_key, install_anchor, sign_document, verify_document
from card.partners.witness import LedgerForked, look

__all__ = [
    "City",
    "CodeTaken",
    "Entry",
    "Exchange",
    "LedgerForked",
    "MessageExpired",
    "MessageReplayed",
    "NoSuchPartner",
    "NotTheHub",
    "PartnerRefused",
    "PartnerUnavailable",
    "State",
    "StatementRefused",
    "TrustAnchorMissing",
    "UnknownCity",
    "WrongAuthority",
    "admit",
    "ask_to_join",
    "authenticate",
    "cities",
    "city",
    "directory",
    "exchanges",
    "federation_key",
    "install",
    "install_anchor",
    "issuer_keys",
    "look",
    "of_settings",
    "own_city",
    "own_configuration",
    "own_issuer_key",
    "refresh",
    "refuse",
    "request_join",
    "send",
    "sign_document",
    "suspend",
    "verify_document",
    "withdraw",
]
