"""The worked example: three cities, fifteen claims, to the fen."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.kernel import ids
from card.clearing import manifest, matching, netting
from card.clearing.rules import BadClearingFile, BreakKind, Charge, Proposal

HZ, NJ, HF = "330100", "320100", "340100"
DAY = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)  # 10:00 in Shanghai


def charge(name: str, acquirer: str, issuer: str, amount_minor: int, *, at: datetime = DAY) -> Charge:
    return Charge(
        id=ids.derived_id(at, name),
        issuer=issuer,
        acquirer=acquirer,
        amount_minor=amount_minor,
        kind="transit",
        card_number=f"31{issuer}{name:>011}".replace("t", "0"),
        reference=f"journey:{name}",
        terminal_id=f"gate-{name}",
        counter=int(name[1:]),
        event_at=at,
        accepted_at=at,
    )


LATE_EVENING = datetime(2026, 11, 22, 15, 58, tzinfo=UTC)  # 23:58 in Shanghai
CLAIMS = [
    charge("t01", HZ, NJ, 200),
    charge("t02", HZ, NJ, 350),
    charge("t03", HZ, NJ, 500),
    charge("t04", HZ, HF, 200),
    charge("t05", HZ, HF, 150),
    charge("t06", NJ, HZ, 400),
    charge("t07", NJ, HZ, 400),
    charge("t08", NJ, HZ, 1200),
    charge("t08", NJ, HZ, 1200),
    charge("t09", NJ, HF, 300),
    charge("t10", HF, HZ, 250),
    charge("t11", HF, HZ, 600),
    charge("t12", HF, NJ, 200),
    charge("t13", HF, NJ, 180, at=LATE_EVENING),
]
DEBITS = [
    charge("t05", HZ, HF, 105) if found.reference == "journey:t05" else found
    for found in dict.fromkeys(CLAIMS)
    if found.reference != "journey:t03"
] + [charge("t15", HF, HZ, 90)]
PAIRS = {(NJ, HZ): 550, (HF, HZ): 200, (HZ, NJ): 2000, (HF, NJ): 300, (HZ, HF): 850, (NJ, HF): 380}


def found_breaks(result: matching.Matching) -> list[tuple[str, BreakKind, int | None, int | None]]:
    return [
        (
            item.charge.reference.removeprefix("journey:"),
            item.kind,
            item.claim and item.claim.amount_minor,
            item.debit and item.debit.amount_minor,
        )
        for item in sorted(result.breaks, key=lambda item: item.charge.reference)
    ]


BREAKS = [
    ("t03", BreakKind.ACQUIRER_ONLY, 500, None),
    ("t05", BreakKind.AMOUNT, 150, 105),
    ("t08", BreakKind.DUPLICATE, 1200, None),
    ("t15", BreakKind.ISSUER_ONLY, None, 90),
]


def test_eleven_claims_match_and_four_breaks_are_found_with_what_to_do() -> None:
    result = matching.match(CLAIMS, DEBITS)
    assert (len(result.matches), result.matched_minor) == (11, 4280)
    assert found_breaks(result) == BREAKS
    assert {item.kind: item.proposal for item in result.breaks} == {
        BreakKind.ACQUIRER_ONLY: Proposal.ISSUER_PAYS,
        BreakKind.AMOUNT: Proposal.AGREE_AMOUNT,
        BreakKind.DUPLICATE: Proposal.DROP,
        BreakKind.ISSUER_ONLY: Proposal.WAIT_THEN_CREDIT,
    }
    assert result.positions() == PAIRS


def test_matching_file_by_file_gives_the_same_as_all_at_once_and_a_replay_changes_nothing() -> None:
    for _ in range(2):
        matches, breaks = 0, []
        for issuer, acquirer in PAIRS:
            mine = [item for item in CLAIMS if (item.issuer, item.acquirer) == (issuer, acquirer)]
            theirs = [item for item in DEBITS if (item.issuer, item.acquirer) == (issuer, acquirer)]
            result = matching.match(mine, theirs)
            matches += len(result.matches)
            breaks += found_breaks(result)
        assert (matches, sorted(breaks)) == (11, BREAKS)


def test_netting_is_bilateral_and_multilateral_with_a_fee_per_pair() -> None:
    result = netting.net(PAIRS)
    assert result.bilateral == {(HZ, NJ): 1450, (HZ, HF): 650, (NJ, HF): 80}
    assert result.multilateral == {HZ: -2100, NJ: 1370, HF: 730}
    assert [result.fees[pair] for pair in PAIRS] == [2, 1, 6, 1, 3, 1]
    assert result.finals == {HZ: -2103, NJ: 1363, HF: 726}
    assert result.clearing_minor == 14


@pytest.mark.parametrize(("cap_minor", "calls"), [(2000, {HZ: 103}), (2102, {HZ: 1}), (2103, {}), (2500, {})])
def test_a_city_over_its_cap_is_called_for_the_difference(cap_minor: int, calls: dict[str, int]) -> None:
    assert netting.funding_calls(netting.net(PAIRS).finals, limits={HZ: cap_minor, NJ: 0}) == calls


@pytest.mark.parametrize(
    ("amount", "expected"), [(0, 0), (-500, 0), (500, 2), (166, 0), (167, 1), (833, 2), (834, 3), (1500, 4)]
)
def test_the_fee_is_thirty_basis_points_half_even(amount: int, expected: int) -> None:
    assert netting.fee(amount) == expected  # 500 → 1.5 → 2; 1,500 → 4.5 → 4


@pytest.mark.parametrize(
    ("accepted_at", "window"),
    [
        (LATE_EVENING, "2026-11-22"),
        (datetime(2026, 11, 22, 15, 59, 59, 999_999, tzinfo=UTC), "2026-11-22"),
        (datetime(2026, 11, 22, 16, 0, tzinfo=UTC), "2026-11-23"),
    ],
)
def test_the_window_is_the_civil_date_of_acceptance_never_of_arrival(accepted_at: datetime, window: str) -> None:
    assert charge("t14", HZ, NJ, 100, at=accepted_at).window.isoformat() == window


def test_only_buckets_that_differ_are_joined() -> None:
    many = [charge(f"t{n}", HZ, NJ, n, at=DAY + timedelta(seconds=n)) for n in range(100, 400)]
    whole = matching.match(many, many)
    assert (len(whole.matches), whole.joined_rows) == (300, 0)
    less = matching.match(many, many[1:])
    assert (len(less.matches), [item.kind for item in less.breaks]) == (299, [BreakKind.ACQUIRER_ONLY])
    assert less.joined_rows < 5


def test_the_same_tap_under_another_id_matches_and_a_near_one_is_only_suggested() -> None:
    claim = charge("t20", HZ, NJ, 200)
    twin = Charge(**{**claim.__dict__, "id": ids.derived_id(DAY, "other")})
    result = matching.match([claim], [twin])
    assert [(item.claim, item.debit) for item in result.matches] == [(claim, twin)]
    dearer = Charge(**{**twin.__dict__, "amount_minor": 300})
    assert [item.kind for item in matching.match([claim], [dearer]).breaks] == [BreakKind.AMOUNT]
    near = Charge(**{**twin.__dict__, "counter": 99, "event_at": DAY + timedelta(minutes=10)})
    far = Charge(**{**near.__dict__, "event_at": DAY + timedelta(minutes=10, seconds=1)})
    suggested: dict[str, list[tuple[BreakKind, UUID | None]]] = {
        name: sorted((item.kind, item.suggestion) for item in matching.match([claim], [other]).breaks)
        for name, other in (("near", near), ("far", far))
    }
    assert suggested == {
        "near": [(BreakKind.ACQUIRER_ONLY, near.id), (BreakKind.ISSUER_ONLY, claim.id)],
        "far": [(BreakKind.ACQUIRER_ONLY, None), (BreakKind.ISSUER_ONLY, None)],
    }


def test_a_manifest_commits_to_every_record() -> None:
    charges = [item for item in CLAIMS if (item.issuer, item.acquirer) == (NJ, HZ)]
    records = manifest.to_parquet(charges)
    facts = {
        "acquirer": HZ,
        "issuer": NJ,
        "window": charges[0].window,
        "number": 1,
        "previous": None,
        "cut_off": DAY,
        "kid": "k",
    }
    said = manifest.build(charges, records, **facts)
    assert manifest.check(said, records) == manifest.ordered(charges)
    assert (said["count"], said["sum_minor"]) == (3, 1050)
    empty = manifest.build([], manifest.to_parquet([]), **facts)
    assert (empty["count"], empty["root"]) == (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert manifest.check(empty, manifest.to_parquet([])) == []
    for changed in (manifest.to_parquet(charges[:2]), manifest.to_parquet(charges + charges[:1]), b"not parquet"):
        with pytest.raises(BadClearingFile):
            manifest.check(said, changed)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_the_root_is_the_tree_hash_of_rfc_6962(count: int, expected: str) -> None:
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    assert manifest.root([bytes.fromhex(item) for item in inputs[:count]]) == expected
