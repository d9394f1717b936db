"""A CSV opens in a spreadsheet as what it says, and as nothing more."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.kernel.spreadsheet import UTF8_MARK, csv_lines, safe_cell


@pytest.mark.parametrize(
    "hostile",
    [
        '=HYPERLINK("https://x.example","y")',
        "+1",
        "-2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "＋1",
        "－1",
        "＠x",
    ],
)
def test_nothing_becomes_a_formula(hostile: str) -> None:
    assert safe_cell(hostile) == "'" + hostile


@pytest.mark.parametrize(
    ("value", "cell"), [("髙﨑 紬", "髙﨑 紬"), ("a@example.com", "a@example.com"), (12, "12"), (None, "")]
)
def test_other_values_stay_as_they_are(value: object, cell: str) -> None:
    assert safe_cell(value) == cell


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), max_size=20))
def test_what_is_written_is_read_again(rows: list[list[str]]) -> None:
    whole = b"".join(csv_lines(["a", "b"], rows, rows_a_piece=3))
    assert whole.startswith(UTF8_MARK)
    read = list(csv.reader(StringIO(whole.decode("utf-8-sig"), newline="")))
    assert read == [["a", "b"], *[[safe_cell(cell) for cell in row] for row in rows]]


def test_rows_are_taken_only_as_they_are_written() -> None:
    taken: list[int] = []

    def endless() -> Iterator[list[int]]:
        for number in range(1_000_000):
            taken.append(number)
            yield [number]

    next(csv_lines(["n"], endless(), rows_a_piece=100))
    assert len(taken) == 100
