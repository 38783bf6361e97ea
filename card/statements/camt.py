"""A statement as ISO 20022 camt.053.001.08 (BankToCustomerStatement), written entry by entry. Pure.

Booked balances open (OPBD) and close (CLBD) it; every entry is booked (BOOK) and carries its booking and value date, our
transfer code as a proprietary bank transaction code, the transfer's id as the servicer's reference, and the business reference
and the other account as remittance information.
Source: ISO 20022 message definition camt.053.001.08; the tests read it back with the published schema's classes.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from app.kernel.money import major
from card.statements.rules import Entry, Statement, proven

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
ISSUER: Final = "CITIZEN-CARD"  # whose the proprietary transaction codes are
CHUNK: Final = 500  # entries written at once
REFERENCE: Final = 35  # characters, Max35Text
FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot carry


def _text(value: str, longest: int) -> str:
    return escape(FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", value)[:longest])


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _amount(minor: int, currency: str) -> str:
    side = "DBIT" if minor < 0 else "CRDT"
    return f'<Amt Ccy="{currency}">{major(abs(minor))}</Amt><CdtDbtInd>{side}</CdtDbtInd>'


def _balance(code: str, minor: int, currency: str, at: datetime) -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{_amount(minor, currency)}"
        f"<Dt><DtTm>{_instant(at)}</DtTm></Dt></Bal>"
    )


def _head(statement: Statement) -> str:
    number, account = _text(statement.number, REFERENCE), _text(statement.account, 34)
    made = _instant(statement.made_at)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>{number}</MsgId><CreDtTm>{made}</CreDtTm></GrpHdr>"
        f"<Stmt><Id>{number}</Id><CreDtTm>{made}</CreDtTm>"
        f"<FrToDt><FrDtTm>{_instant(statement.beginning)}</FrDtTm><ToDtTm>{_instant(statement.ending)}</ToDtTm></FrToDt>"
        f"<Acct><Id><Othr><Id>{account}</Id></Othr></Id><Ccy>{statement.currency}</Ccy><Nm>{_text(statement.name, 70)}</Nm>"
        f"<Ownr><Nm>{_text(statement.owner, 140)}</Nm></Ownr>"
        f"<Svcr><FinInstnId><Nm>{_text(statement.servicer, 140)}</Nm></FinInstnId></Svcr></Acct>"
        + _balance("OPBD", statement.opening_minor, statement.currency, statement.beginning)
        + _balance("CLBD", statement.closing_minor, statement.currency, statement.ending)
    )


def _entry(entry: Entry, place: int, currency: str) -> str:
    amount, id_ = _amount(entry.amount_minor, currency), _text(entry.id.replace("-", ""), REFERENCE)
    code = f"<BkTxCd><Prtry><Cd>{_text(entry.code, REFERENCE)}</Cd><Issr>{ISSUER}</Issr></Prtry></BkTxCd>"
    told = "".join(f"<Ustrd>{_text(part, 140)}</Ustrd>" for part in (entry.reference, entry.counterparty) if part)
    note = f"<AddtlTxInf>{_text(entry.note, 500)}</AddtlTxInf>" if entry.note else ""
    return (
        f"<Ntry><NtryRef>{place}</NtryRef>{amount}<Sts><Cd>BOOK</Cd></Sts>"
        f"<BookgDt><DtTm>{_instant(entry.booked_at)}</DtTm></BookgDt><ValDt><DtTm>{_instant(entry.valued_at)}</DtTm></ValDt>"
        f"<AcctSvcrRef>{id_}</AcctSvcrRef>{code}<NtryDtls><TxDtls><Refs><AcctSvcrRef>{id_}</AcctSvcrRef></Refs>{amount}"
        + (f"<RmtInf>{told}</RmtInf>" if told else "")
        + f"{note}</TxDtls></NtryDtls></Ntry>\n"
    )


def camt053(statement: Statement, entries: Iterable[Entry]) -> Iterator[str]:
    """The message in pieces of text, oldest entry first.

    Raises :class:`~card.statements.rules.DoesNotAddUp` instead of its end, so that no reader takes a part for the whole.
    """
    pieces = [_head(statement), "\n"]
    for place, entry, _ in proven(statement, entries):
        pieces.append(_entry(entry, place, statement.currency))
        if place % CHUNK == 0:
            yield "".join(pieces)
            pieces.clear()
    pieces.append("</Stmt></BkToCstmrStmt></Document>\n")
    yield "".join(pieces)
