"""Mails built by hand, read by the packaged sites or by a definition given in a test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from todoku.extraction.compiled import CompiledSite, compile_site
from todoku.extraction.definition import load_definition
from todoku.extraction.reading import read_parsed
from todoku.extraction.types import Reading
from todoku.mail.types import Attachment, Mailbox, ParsedMail

TOKYO = ZoneInfo("Asia/Tokyo")
MAILED = datetime(2026, 11, 20, 12, 0, tzinfo=TOKYO)

Build = Callable[..., ParsedMail]
Read = Callable[..., Reading]
Compile = Callable[[str], CompiledSite]


def build(
    text: str,
    *,
    subject: str = "",
    sender: str = "someone@example.com",
    html: str | None = None,
    date: datetime | None = MAILED,
    attachments: tuple[Attachment, ...] = (),
) -> ParsedMail:
    return ParsedMail(
        subject=subject,
        sender=Mailbox("", sender),
        recipients=(),
        date=date,
        message_id="<1@example.com>",
        text=text,
        html=html,
        attachments=attachments,
        headers=(),
        lossy_characters=0,
    )


@pytest.fixture
def mail() -> Build:
    return build


@pytest.fixture
def read() -> Read:
    def read_text(text: str, **more: object) -> Reading:
        return read_parsed(build(text, **more), received_at=MAILED)  # type: ignore[arg-type]

    return read_text


@pytest.fixture
def compiled() -> Compile:
    def compile_text(toml: str) -> CompiledSite:
        return compile_site(load_definition(toml, file="test.toml"), file="test.toml")

    return compile_text
