"""When a cluster's refusal of a line is final."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from todoku.bus import wire
from todoku.bus.connection import _decided
from todoku.bus.types import StoredMessage


@pytest.mark.parametrize(
    ("description", "expected", "found", "decided"),
    [
        ("wrong last sequence: 7", 5, 7, True),  # somebody wrote 7
        ("wrong last sequence: 7", 5, 5, False),  # who was asked has not seen 7 yet
        ("wrong last sequence: 0", 5, None, True),  # the subject was purged
        ("wrong last sequence", 5, 5, False),  # a line is on its way and may yet fail
        ("wrong last sequence", 5, 4, False),  # a new leader that has not caught up
        ("wrong last sequence", 5, 6, True),
        ("wrong last sequence", 0, None, False),
    ],
)
def test_a_refusal_is_final_when_what_it_was_based_on_can_be_seen(
    description: str, expected: int, found: int | None, decided: bool
) -> None:
    answer = wire.PublishAnswer(error=wire.ApiError(code=400, err_code=10071, description=description))
    last = None if found is None else StoredMessage("s", b"", found, datetime(2026, 11, 21, tzinfo=UTC))
    headers = {wire.EXPECTED_LAST_SUBJECT_SEQUENCE: str(expected)}
    assert _decided(answer, last, headers) is decided


def test_the_leader_s_answer_is_read_with_its_headers() -> None:
    headers = b"NATS/1.0\r\nNats-Msg-Id: m~1\r\nKV-Operation: DEL\r\n\r\n"
    kept = wire.KeptMessage("s", 9, headers, b"x", "2026-11-21T03:00:00.123456789Z")
    message, deleted = wire.kept_message(kept)
    assert (message.sequence, message.message_id, message.payload, deleted) == (9, "m~1", b"x", True)
    assert message.published_at_utc == datetime(2026, 11, 21, 3, 0, 0, 123_456, tzinfo=UTC)
