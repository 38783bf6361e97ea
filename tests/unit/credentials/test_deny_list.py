"""The deny list: exact, chained, and honest about what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card.credentials import CredentialRefused, Delta, DenyList, Reason, denials


def follow(held: DenyList, *, adds: set[int], removes: set[int]) -> Delta:
    return Delta.make(city=held.city, seq=held.seq + 1, prev_digest=held.digest, adds=adds, removes=removes)


changes = st.lists(st.tuples(st.sets(st.integers(0, 2**32 - 1), max_size=20), st.sets(st.integers(0, 500))), max_size=8)


@given(changes)
def test_the_list_is_exactly_the_set_that_its_deltas_describe(steps: list[tuple[set[int], set[int]]]) -> None:
    held, expected = DenyList.empty("320100"), set[int]()
    deltas = []
    for adds, removes in steps:
        deltas.append(follow(held, adds=adds, removes=removes))
        held = held.apply(deltas[-1])
        expected = (expected | adds) - removes
    assert set(held.denied) == expected
    # A newcomer that takes any base and the deltas after it ends with the same list.
    for start in range(len(deltas) + 1):
        base = DenyList.empty("320100")
        for delta in deltas[:start]:
            base = base.apply(delta)
        found = denials.take("320100", None, denials.part(base, deltas[start:]))
        assert (found.digest, found.denied, found.seq) == (held.digest, held.denied, held.seq)


def test_a_missing_delta_is_a_gap_and_the_next_base_closes_it() -> None:
    empty = DenyList.empty("320100")
    one = empty.apply(follow(empty, adds={1}, removes=set()))
    two_delta = follow(one, adds={2}, removes=set())
    two = one.apply(two_delta)
    with pytest.raises(CredentialRefused) as refused:
        denials.take("320100", empty, denials.part(None, [two_delta]))
    assert refused.value.reason is Reason.GAP
    assert set(denials.take("320100", empty, denials.part(two, [])).denied) == {1, 2}


def test_a_repeated_part_changes_nothing_and_an_older_base_never_takes_the_list_back() -> None:
    empty = DenyList.empty("320100")
    delta = follow(empty, adds={1}, removes=set())
    one = empty.apply(delta)
    assert denials.take("320100", one, denials.part(None, [delta])) == one
    assert denials.take("320100", one, denials.part(empty, [])) == one
    assert denials.take("320100", one, denials.part(None, [])) == one


def test_a_changed_delta_breaks_its_own_digest_and_another_citys_does_not_chain() -> None:
    empty = DenyList.empty("320100")
    good = follow(empty, adds={1}, removes=set())
    forged = Delta(city="320100", seq=1, prev_digest=good.prev_digest, adds=b"", removes=good.removes, digest=good.digest)
    for wrong, reason in [(forged, Reason.BAD_SIGNATURE), (Delta.read("320500", good.document()), Reason.GAP)]:
        with pytest.raises(CredentialRefused) as refused:
            empty.apply(wrong)
        assert refused.value.reason is reason


def test_a_hundred_thousand_denied_cards_fit_in_a_quarter_of_a_megabyte() -> None:
    indexes = range(0, 50_000_000, 500)
    assert len(denials.pack(indexes)) < 260_000
