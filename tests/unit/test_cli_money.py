from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.cli.money import InvalidAmount, format_eth, parse_amount


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("0.002eth", 2 * 10**15),
        (" 0.002 ETH ", 2 * 10**15),
        ("150gwei", 150 * 10**9),
        ("1wei", 1),
        ("0.000000000000000001eth", 1),
        ("1000000eth", 10**24),
    ],
)
def test_an_amount_with_its_unit_is_read_exactly(text: str, wei: int) -> None:
    assert parse_amount(text) == wei


@pytest.mark.parametrize(
    "text",
    ["", "0.002", "eth", "-1eth", "0eth", "1.5wei", "1e3eth", "0,5eth", "1eth2", "9" * 40 + "eth"],
)
def test_anything_else_is_refused_with_the_next_step(text: str) -> None:
    with pytest.raises(InvalidAmount) as caught:
        parse_amount(text)
    assert caught.value.hint


@given(st.integers(min_value=1, max_value=2**128 - 1))
def test_an_exact_amount_reads_back_as_itself(wei: int) -> None:
    assert parse_amount(format_eth(wei, exact=True).lower()) == wei


@given(st.integers(min_value=1, max_value=2**128 - 1))
def test_no_amount_is_shown_as_nothing(wei: int) -> None:
    shown = parse_amount(format_eth(wei))
    assert abs(shown - wei) <= wei // 1000
    assert "e" not in format_eth(wei).removesuffix(" ETH").removesuffix(" wei").lower()


def test_shown_amounts_are_short() -> None:
    assert format_eth(0) == "0 ETH"
    assert format_eth(10**18) == "1 ETH"
    assert format_eth("413872910238114") == "0.00041387 ETH"
    assert format_eth(999) == "999 wei"
