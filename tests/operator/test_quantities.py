"""Quantities as Kubernetes spells them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeembed_operator.quantities import format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", Decimal(2)),
        ("500m", Decimal("0.5")),
        ("2Gi", Decimal(2 * 2**30)),
        ("1e3", Decimal(1000)),
        ("1.5k", Decimal(1500)),
        (".5", Decimal("0.5")),
    ],
)
def test_a_quantity_is_a_number(text: str, number: Decimal) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "two", "1 Gi", "1GB", "Gi"])
def test_what_is_no_quantity_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(["", "m", "Mi", "Gi"]))
def test_a_number_is_spelled_so_that_it_reads_the_same(number: int, suffix: str) -> None:
    quantity = parse_quantity(f"{number}{suffix}")
    assert parse_quantity(format_quantity(quantity)) == quantity
