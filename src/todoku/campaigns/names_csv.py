"""The names behind the numbers of a run as a CSV for spreadsheets, streamed from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID
from zoneinfo import ZoneInfo

from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import TERMINAL_STATES, DeliveryRow, RecipientState
from todoku.kernel.spreadsheet import csv_lines
from todoku.projects import queries as projects

HEADERS = {
    "ja": ("メールアドレス", "結果", "状態コード", "サーバーの応答・理由", "日時", "Message-ID", "お客様ID"),
    "en": ("Mail address", "Result", "State", "Answer or reason", "At", "Message-ID", "Guest id"),
}
STATES = {  # as the pages say it
    "ja": {
        RecipientState.SENT: "送信",
        RecipientState.REFUSED: "拒否",
        RecipientState.SUPPRESSED: "除外",
        RecipientState.UNRENDERABLE: "作成不可",
        RecipientState.EXPIRED: "時間切れ",
        RecipientState.UNKNOWN: "不明",
        RecipientState.PENDING: "残り",
    },
    "en": {
        RecipientState.SENT: "Sent",
        RecipientState.REFUSED: "Refused",
        RecipientState.SUPPRESSED: "Left out",
        RecipientState.UNRENDERABLE: "Could not be written",
        RecipientState.EXPIRED: "Ran out of time",
        RecipientState.UNKNOWN: "Not certain",
        RecipientState.PENDING: "Still to go",
    },
}


def stream(project_id: str, run_id: UUID, states: Iterable[RecipientState] = (), *, language: str) -> Iterator[bytes]:
    """Yield the recipients of a run in these states (none given: in every terminal one) as a CSV, piece by piece.

    language: "ja" or "en", of header and states; times are by the project's clock, with their offset.
    Memory stays that of one page of rows whatever the size of the run. Whoever asks has checked that the run is the
    project's own; the ledger is asked within the project in any case. Raises ProjectMissing.
    """
    zone = ZoneInfo(projects.get_project(project_id).time_zone)
    words = STATES[language]

    def cells(row: DeliveryRow) -> Sequence[object]:
        state = RecipientState(row.state)
        at = row.at_utc.astimezone(zone).isoformat(sep=" ", timespec="seconds")
        return (row.address, words[state], state.value, row.answer, at, row.message_id, row.guest_id or "")

    chosen = tuple(states) or TERMINAL_STATES
    return csv_lines(HEADERS[language], map(cells, ledger.run_rows(project_id, run_id, chosen)))


def file_name(campaign_name: str, state: str = "") -> str:
    """Return a file name that every system takes: the campaign's name, the state."""
    kept = "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in campaign_name)[:60].strip("-")
    return f"{kept or 'run'}{'-' + state if state else ''}.csv"
