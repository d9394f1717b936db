"""The demo's evening: sample mails first, then a fresh one now and then, all through the real SMTP door."""

from __future__ import annotations

import asyncio
import random
import smtplib
from collections.abc import Iterable

import structlog

from todoku.demo.fresh_mail import FreshMails
from todoku.demo.group import SITES
from todoku.extraction import read_mail, sample_mails
from todoku.kernel.clock import Clock
from todoku.mail.errors import Unreadable
from todoku.projects.types import ShopInfo

log = structlog.get_logger(__name__)

PAUSE_SECONDS = (5.0, 12.0)
Letter = tuple[str, bytes]  # envelope recipient, content


def sample_letters(
    addresses: dict[tuple[str, str], str], shops: list[ShopInfo], domain: str, clock: Clock
) -> list[Letter]:
    """Return every sample mail with the intake address of the shop and site that it is about."""
    letters: list[Letter] = []
    for site, _filename, raw in sample_mails(*SITES, "none"):
        shop = _shop_of(raw, shops, clock)
        local_part = addresses.get((shop.code, site)) or addresses[shops[0].code, "tabelog"]
        letters.append((f"{local_part}@{domain}", raw))
    return letters


def send_letters(host: str, port: int, letters: Iterable[Letter]) -> int:
    """Hand letters to the SMTP door over one connection; returns how many were answered with 250.

    Raises OSError or smtplib.SMTPException when the door is not there or refuses.
    """
    accepted = 0
    with smtplib.SMTP(host, port, timeout=30) as connection:
        for rcpt_to, content in letters:
            connection.sendmail("notice@bookings.example", [rcpt_to], content)
            accepted += 1
    return accepted


async def play_evening(
    host: str, port: int, *, fresh: FreshMails, addresses: dict[tuple[str, str], str], domain: str, clock: Clock
) -> None:
    """Send a fresh mail every few seconds until cancelled; a door that is away for a moment is tried again."""
    while True:
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - a pause, not a secret
        mail = fresh.next(clock.now_utc())
        letter = (f"{addresses[mail.shop_code, mail.site]}@{domain}", mail.content)
        try:
            await asyncio.to_thread(send_letters, host, port, [letter])
        except (OSError, smtplib.SMTPException) as error:
            log.warning("demo.mail_not_taken", error=str(error))


def _shop_of(raw: bytes, shops: list[ShopInfo], clock: Clock) -> ShopInfo:
    try:
        facts = read_mail(raw, received_at=clock.now_utc()).facts
    except Unreadable:
        facts = None
    named = {facts.shop, facts.shop_code} if facts else set()
    return next((shop for shop in shops if named & {shop.name, *shop.site_names}), shops[0])
