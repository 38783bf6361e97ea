"""The Token Status List: the specification's own example, and the way back."""

from hypothesis import given
from hypothesis import strategies as st

from card.cards.status_list import decode, encode, packed

EXAMPLE = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]


def test_it_is_the_specifications_example() -> None:
    denied = [index for index, status in enumerate(EXAMPLE) if status]
    assert encode(denied, size=16) == "eNrbuRgAAhcBXQ"
    assert decode("eNrbuRgAAhcBXQ") == set(denied)
    assert packed(denied, size=16) == bytes.fromhex("78dadbb918000217015d")
    assert decode(packed(denied, size=16)) == set(denied)


@given(st.sets(st.integers(0, 5000)), st.integers(1, 6000))
def test_it_holds_exactly_the_indexes_that_were_issued(denied: set[int], size: int) -> None:
    assert decode(encode(denied, size=size)) == {index for index in denied if index < size}
