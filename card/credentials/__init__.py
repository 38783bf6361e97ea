"""What a card shows and how it is verified offline: COSE tokens and QR, taps, terminal proofs, bundles, the deny list.

Pure: no clock, no database, no network; it needs ``cbor2``, ``cryptography``, ``base45`` and ``pyroaring`` and runs on a gate.
"""

from card.credentials import card_number as numbers
from card.credentials import cose as sign1
from card.credentials import deny_list as denials
from card.credentials import wire as cbor
from card.credentials.bundles import (
    Bundle,
    Certificate,
    certify,
    from_base64url,
    read_bundle,
    read_certificate,
    sign_bundle,
    to_base64url,
)
from card.credentials.card_number import CardNumber, issuing_city
from card.credentials.cose import Algorithm, Sign1
from card.credentials.credential import (
    CODE_AGE_MAX,
    CODE_AHEAD_MAX,
    GATE_USES,
    PREFIX,
    Entitlement,
    EntitlementCode,
    Presentation,
    Static,
    Use,
    Verifier,
    dynamic_message,
    dynamic_part,
    from_text,
    present,
    sign_static,
    to_text,
    verify,
)
from card.credentials.deny_list import Delta, DenyList
from card.credentials.keys import CityKey, KeyRing, key_id, public_from_raw, raw_public
from card.credentials.proofs import PROOF_AGE_MAX, Proof, prove, verify_proof
from card.credentials.reasons import SENTENCES, CredentialRefused, Reason
from card.credentials.taps import (
    BATCH_MAX,
    CHAIN_START,
    Decision,
    Receipt,
    Received,
    Tap,
    TapKind,
    TapResult,
    Unreadable,
    decode_batch,
    encode_batch,
    read_batch,
    receipt_from,
    tap_from,
)

__all__ = [
    "BATCH_MAX",
    "CHAIN_START",
    "CODE_AGE_MAX",
    "CODE_AHEAD_MAX",
    "GATE_USES",
    "PREFIX",
    "PROOF_AGE_MAX",
    "SENTENCES",
    "Algorithm",
    "Bundle",
    "CardNumber",
    "Certificate",
    "CityKey",
    "CredentialRefused",
    "Decision",
    "Delta",
    "DenyList",
    "Entitlement",
    "EntitlementCode",
    "KeyRing",
    "Presentation",
    "Proof",
    "Reason",
    "Receipt",
    "Received",
    "Sign1",
    "Static",
    "Tap",
    "TapKind",
    "TapResult",
    "Unreadable",
    "Use",
    "Verifier",
    "cbor",
    "certify",
    "decode_batch",
    "denials",
    "dynamic_message",
    "dynamic_part",
    "encode_batch",
    "from_base64url",
    "from_text",
    "issuing_city",
    "key_id",
    "numbers",
    "present",
    "prove",
    "public_from_raw",
    "raw_public",
    "read_batch",
    "read_bundle",
    "read_certificate",
    "receipt_from",
    "sign1",
    "sign_bundle",
    "sign_static",
    "tap_from",
    "to_base64url",
    "to_text",
    "verify",
    "verify_proof",
]
