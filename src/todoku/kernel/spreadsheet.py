"""CSV that a spreadsheet opens without surprises: UTF-8 with a mark, CRLF, and no cell that becomes a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

UTF8_MARK = b"\xef\xbb\xbf"  # without it Excel reads a Japanese CSV as Shift_JIS
# Full-width signs too: Japanese spreadsheets read them as the ASCII ones. Source: OWASP, CSV Injection.
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def safe_cell(value: object) -> str:
    """Return the value as a cell that no spreadsheet runs: what could begin a formula gets a quote in front."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]], *, rows_a_piece: int = 500) -> Iterator[bytes]:
    """Yield a CSV document piece by piece, so that a million rows need the memory of one piece.

    RFC 4180: CRLF, quotes doubled. Every cell is a `safe_cell`. The first piece begins with the UTF-8 mark and the
    header; it is there even when there are no rows.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([safe_cell(one) for one in header])
    mark = UTF8_MARK
    for count, row in enumerate(rows, start=1):
        writer.writerow([safe_cell(one) for one in row])
        if count % rows_a_piece == 0:
            yield mark + buffer.getvalue().encode()
            mark = b""
            buffer.seek(0)
            buffer.truncate()
    yield mark + buffer.getvalue().encode()
