"""The forms of a statement: read back by classes made from the published schema, and never handed out unless they add up."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from pyiso20022.camt.camt_053_001_08 import Document
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig

from card import statements
from card.statements import DoesNotAddUp, Entry, Statement

AT = datetime(2026, 11, 21, 4, 0, 0, 123_000, tzinfo=UTC)
HEAD = Statement(
    number="320100-7-20261121-20261121",
    account="320100-7",
    name="operator:nj-metro",
    owner="Nanjing Metro <南京地铁> & Co",
    servicer="City of Nanjing",
    beginning=AT,
    ending=AT + timedelta(days=1),
    opening_minor=-150,
    closing_minor=1_100,
    made_at=AT + timedelta(days=1),
)
ENTRIES = [
    Entry(
        id="019a9d2e-0000-7000-8000-000000000001",
        booked_at=AT + timedelta(seconds=1),
        valued_at=AT,
        amount_minor=350,
        code="fare",
        reference="journey:019a9d2e-0000-7000-8000-0000000000aa",
        counterparty="purse:019a9d2e-0000-7000-8000-0000000000bb",
    ),
    Entry(
        id="2",
        booked_at=AT + timedelta(seconds=2),
        valued_at=AT,
        amount_minor=1_000,
        code="fare",
        reference="=1+1",
        note="a\x00<b>",
    ),
    Entry(id="3", booked_at=AT + timedelta(seconds=3), valued_at=AT, amount_minor=-100, code="fare-correction"),
]


def parsed(text: str) -> Document:
    strict = ParserConfig(fail_on_unknown_properties=True, fail_on_unknown_attributes=True, fail_on_converter_warnings=True)
    return XmlParser(config=strict).from_string(text, Document)


def signed(part: object) -> Decimal:
    return part.amt.value if part.cdt_dbt_ind.value == "CRDT" else -part.amt.value


def test_a_camt_053_is_read_back_by_the_published_schema_and_its_entries_lead_from_opening_to_closing() -> None:
    found = parsed("".join(statements.camt053(HEAD, ENTRIES)))
    (statement,) = found.bk_to_cstmr_stmt.stmt
    balances = {balance.tp.cd_or_prtry.cd: signed(balance) for balance in statement.bal}
    assert balances == {"OPBD": Decimal("-1.50"), "CLBD": Decimal("11.00")}
    assert balances["OPBD"] + sum(signed(entry) for entry in statement.ntry) == balances["CLBD"]
    assert statement.acct.id.othr.id == "320100-7"
    assert statement.acct.ownr.nm == HEAD.owner
    assert statement.acct.ccy == "CNY"
    first, second, third = statement.ntry
    assert first.acct_svcr_ref == ENTRIES[0].id.replace("-", "")
    assert str(first.val_dt.dt_tm) == "2026-11-21T04:00:00.123Z"
    assert str(first.bookg_dt.dt_tm) == "2026-11-21T04:00:01.123Z"
    assert (first.sts.cd, first.bk_tx_cd.prtry.cd, first.bk_tx_cd.prtry.issr) == ("BOOK", "fare", "CITIZEN-CARD")
    assert first.ntry_dtls[0].tx_dtls[0].rmt_inf.ustrd == [ENTRIES[0].reference, ENTRIES[0].counterparty]
    assert second.ntry_dtls[0].tx_dtls[0].addtl_tx_inf == "a\N{REPLACEMENT CHARACTER}<b>"
    assert third.cdt_dbt_ind.value == "DBIT"


def test_the_csv_has_a_running_balance_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO("".join(statements.csv_lines(HEAD, ENTRIES)))))
    assert [row["balance_after"] for row in rows] == ["-1.50", "2.00", "12.00", "11.00", "11.00"]
    assert [row["code"] for row in rows] == ["opening-balance", "fare", "fare", "fare-correction", "closing-balance"]
    assert rows[2]["reference"] == "'=1+1"
    assert rows[1]["booked_at"] == "2026-11-21T04:00:01.123000+00:00"


@pytest.mark.parametrize("form", [statements.camt053, statements.csv_lines])
def test_a_statement_that_does_not_add_up_is_not_finished(form) -> None:
    wrong = replace(HEAD, closing_minor=HEAD.closing_minor + 1)
    with pytest.raises(DoesNotAddUp, match="make 1100, not 1101"):
        list(form(wrong, ENTRIES))


@pytest.mark.parametrize("form", [statements.camt053, statements.csv_lines])
def test_a_long_statement_comes_in_pieces_as_its_entries_come(form) -> None:
    taken = []

    def endless() -> Iterator[Entry]:
        for number in range(1_000_000):
            taken.append(number)
            yield replace(ENTRIES[0], id=str(number))

    next(iter(form(HEAD, endless())))
    assert len(taken) < 1_000


def test_a_civil_day_is_a_day_in_shanghai() -> None:
    beginning, ending = statements.day_period(date(2026, 11, 21), date(2026, 11, 22))
    assert beginning == datetime(2026, 11, 20, 16, tzinfo=UTC)
    assert ending == datetime(2026, 11, 22, 16, tzinfo=UTC)
