"""The audience of one run on its way to the sealer: streamed in a thread, given its values, rendered once to try.

Memory is constant: one chunk of 500 people at a time. The thread has its own database connection.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from django.db import Error as DatabaseError
from django.db import connection

from todoku.campaigns.readiness import project_values
from todoku.campaigns.run_store import SealJob
from todoku.campaigns.unsubscribe import make_token
from todoku.content.rendering import make_renderer
from todoku.delivery.types import NotSendable, Recipient, SealChunk, Unrenderable
from todoku.guests import queries as guest_queries
from todoku.guests.types import AudienceMember
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)


class AudienceFeed:
    """One pass over a run's audience. After it: `planned` people, `unrenderable` by the variable that is to blame.

    People whose message can't be filled in are sealed with the others: the sender finds the same and books them as
    `unrenderable`, so that the balance has them. The pre-flight only tells the planner early.
    """

    def __init__(self, job: SealJob, clock: Clock, *, unsubscribe_base_url: str) -> None:
        """Raises content.errors.TemplateInvalid when a template can't be compiled."""
        self._job = job
        self._clock = clock
        self._today = clock.now_utc().astimezone(ZoneInfo(job.project.time_zone)).date()
        self._unsubscribe_base_url = unsubscribe_base_url
        self._renderer = make_renderer(job.content.subject, job.content.html, job.content.text)
        self._fixed_values = project_values(job.project)
        self.planned = 0
        self.to_send = 0
        self.unrenderable: Counter[str] = Counter()

    async def chunks(self) -> AsyncGenerator[SealChunk, None]:
        """Yield everybody once, in the order of guest ids. Raises django.db.Error, psycopg.Error."""
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audience")
        source = self._prepared()
        try:
            while (chunk := await loop.run_in_executor(thread, next, source, None)) is not None:
                yield chunk
        finally:
            thread.submit(_end, source)
            thread.shutdown(wait=False)  # the thread ends with the chunk it is at; the event loop does not wait for it

    def _prepared(self) -> Generator[SealChunk, None, None]:
        job = self._job
        audience = guest_queries.stream_audience(job.project_id, job.audience, today=self._today, clock=self._clock)
        for members in audience:
            self.planned += len(members)
            yield SealChunk(
                recipients=[self._recipient(member) for member in members if not member.not_sendable],
                not_sendable=[
                    NotSendable(str(member.guest_id), member.address, member.not_sendable)
                    for member in members
                    if member.not_sendable
                ],
            )

    def _recipient(self, member: AudienceMember) -> Recipient:
        token = make_token(self._job.project_id, self._job.run_id, member.guest_id, member.address)
        values = member_values(member) | self._fixed_values
        values["unsubscribe_url"] = self._unsubscribe_base_url + token
        self.to_send += 1
        try:
            self._renderer.render(values)
        except Unrenderable as error:
            self.unrenderable[error.variable] += 1
        return Recipient(0, str(member.guest_id), member.address, _header_name(member.name), values)


def member_values(member: AudienceMember) -> dict[str, Any]:
    """Return the merge values that differ from recipient to recipient, but for the link."""
    day = member.last_visit_on
    return {
        "guest_name": member.name,
        "shop_name": member.last_shop_name,
        "visits": member.visits,
        "last_visit_on": day.isoformat() if day is not None else "",
        "last_visit_on_ja": _japanese(day) if day is not None else "",
    }


def _japanese(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


def _header_name(name: str) -> str:
    """Return the name as a To header may show it: a line break in a name must not cost its owner the mail."""
    if name.isprintable():
        return name
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())


def _end(source: Generator[SealChunk, None, None]) -> None:
    try:
        source.close()
        connection.close()
    except DatabaseError as error:
        log.warning("plan.audience_not_closed", error=str(error))
