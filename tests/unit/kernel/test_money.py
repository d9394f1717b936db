"""Money as notifications write it."""

from __future__ import annotations

import pytest

from todoku.kernel.money import read_money


@pytest.mark.parametrize(
    ("text", "minor", "currency"),
    [
        ("5,000円", 5000, "JPY"), ("12000円（税込）", 12000, "JPY"), ("¥ 12,000", 12000, "JPY"),
        ("￥5,000-", 5000, "JPY"),
        ("３，０００円", 3000, "JPY"), ("1万2000円", 12000, "JPY"), ("3万円", 30000, "JPY"), ("JPY 5,000", 5000, "JPY"),
        ("合計（JPY）¥ 34,500", 34500, "JPY"), ("5,000 yen", 5000, "JPY"), ("0円", 0, "JPY"),
        ("TOTAL (USD)   $120.50", 12050, "USD"), ("US$10", 1000, "USD"), ("$1,234.5", 123450, "USD"),
        ("1 234,56 €", 123456, "EUR"), ("1.234,56 €", 123456, "EUR"), ("€99", 9900, "EUR"), ("₩10,000", 10000, "KRW"),
    ],
)  # fmt: skip
def test_amounts(text: str, minor: int, currency: str) -> None:
    found = read_money(text)
    assert found is not None
    assert (found.minor, found.currency) == (minor, currency)


@pytest.mark.parametrize("text", ["", "12名", "5,000", "100ポイント", "2026年", "03-0000-0000"])
def test_a_number_without_a_currency_is_no_amount(text: str) -> None:
    assert read_money(text) is None


def test_the_span_and_the_position() -> None:
    text = "大人 ４，５００円 × 2名 = 9,000円"
    first = read_money(text)
    assert first is not None
    assert text[first.start : first.end] == "４，５００円"
    second = read_money(text, first.end)
    assert second is not None
    assert second.minor == 9000
