"""The one way by which a mail enters: vault first, then the MAIL stream, then the source may be told."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime
from typing import Final

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusUnavailable, PublishUnknown
from todoku.bus.streams import mail_subject
from todoku.kernel.clock import Clock
from todoku.kernel.errors import TodokuError
from todoku.kernel.ids import new_id
from todoku.kernel.retry import BackOff
from todoku.sources.errors import NotKept
from todoku.sources.types import Arrival
from todoku.vault.types import Vault

log = structlog.get_logger(__name__)

PUBLISH_ATTEMPTS: Final = 4  # of at most 5 s each: an SMTP client waits 10 minutes after its dot (RFC 5321 4.5.3.2.6)
_BACK_OFF: Final = BackOff(base_seconds=0.2, cap_seconds=2.0)


class ArrivalWriter:
    """Keep mails; shared by all sources of one event loop.

    After a crash between vault and bus the bytes lie in the vault without an Arrival; the source was not told, so it
    hands the mail over again and the vault recognises the bytes.
    """

    def __init__(self, vault: Vault, bus: Bus, clock: Clock) -> None:
        self.clock = clock
        self._vault = vault
        self._bus = bus
        self._randomness = random.Random()  # noqa: S311  # spreads retries, guards nothing

    async def accept(
        self,
        raw: bytes,
        *,
        project_id: str,
        source: str,
        mail_from: str = "",
        rcpt_to: str = "",
        shop_code: str | None = None,
        site: str | None = None,
        cursor: str = "",
        at_source_utc: datetime | None = None,
    ) -> Arrival:
        """Keep one mail and return its Arrival; on return it may be acknowledged, and survives a power cut.

        raw: the bytes as they came, any bytes, also none. source: a subject token ("smtp", "import").
        Raises NotKept (transient): vault or bus did not take it, or the bus gave no answer; hand it over again.
        """
        subject = mail_subject(project_id, source)
        received_at_utc = self.clock.now_utc()
        try:
            stored = await self._vault.put(project_id, raw)
        except (TodokuError, OSError) as error:
            log.warning("mail.not_kept", project_id=project_id, source=source, at="vault", error=str(error))
            raise NotKept(f"the vault did not take the mail: {error}", todo="hand it over again later") from error
        arrival = Arrival(
            arrival_id=new_id(),
            project_id=project_id,
            source=source,
            vault_key=stored.key,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            received_at_utc=received_at_utc,
            mail_from=mail_from,
            rcpt_to=rcpt_to,
            shop_code=shop_code,
            site=site,
            cursor=cursor,
            at_source_utc=at_source_utc,
        )
        await self._publish(subject, arrival)
        log.info("mail.arrived", arrival_id=str(arrival.arrival_id), project_id=project_id, source=source)
        return arrival

    async def _publish(self, subject: str, arrival: Arrival) -> None:
        payload = msgspec.msgpack.encode(arrival)
        message_id = str(arrival.arrival_id)
        for attempt in range(PUBLISH_ATTEMPTS):
            try:
                await self._bus.publish_together(subject, payload, message_id)
                return
            except (BusUnavailable, PublishUnknown) as error:
                log.warning("mail.publish_failed", arrival_id=message_id, attempt=attempt, error=str(error))
                failure = error
            if attempt + 1 < PUBLISH_ATTEMPTS:
                await asyncio.sleep(_BACK_OFF.wait_seconds(attempt, randomness=self._randomness))
        raise NotKept(
            f"the bus did not take the mail: {failure}",
            kept=f"the raw bytes, in the vault under {arrival.vault_key}",
            todo="hand it over again later",
        ) from failure
