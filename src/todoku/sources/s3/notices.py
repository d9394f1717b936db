"""What the queue told and nobody has let go of yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog

from todoku.sources.s3.notifications import read_notification
from todoku.sources.s3.queue import Message

log = structlog.get_logger(__name__)

MOST_HELD: Final = 100  # messages of 256 KB (SNS) at most: 25 MB
SETUP_NAME: Final = "AMAZON_SES_SETUP_NOTIFICATION"  # SES leaves it once, when a receipt rule is made
_MOST_EXCERPT: Final = 200


def is_mail_name(name: str) -> bool:
    """Tell whether an object of this name can be a mail: no "folder" of a console, not what SES left at set-up."""
    return not name.endswith("/") and name.rpartition("/")[2] != SETUP_NAME


@dataclass(slots=True)
class _Notice:
    message: Message
    names: frozenset[str] = frozenset()
    mails: dict[str, bytes] = field(default_factory=dict)
    problem: str = ""
    looked: bool = False  # its names were looked for, and what is there was given to the collector
    absent: set[str] = field(default_factory=set)
    failed: bool = False


class Notices:
    """Messages between their receiving and their deletion, by message id; at most MOST_HELD."""

    def __init__(self, bucket: str, prefix: str, tries: int) -> None:
        """tries: how often one without a mail may come before it is let go."""
        self._bucket = bucket
        self._prefix = prefix
        self._tries = tries
        self._held: dict[str, _Notice] = {}
        self._spent: list[_Notice] = []  # those that speak of nothing to fetch
        self.without_mail = 0  # notifications that were let go although their object was never there

    def take(self, message: Message) -> bool:
        """Hold what was received, until `release`; tell whether it speaks of a mail that may be fetched."""
        told = read_notification(message.body)
        names = [name for bucket, name in told.objects if bucket == self._bucket and self._is_ours(name)]
        problem = told.problem
        if told.objects and any(bucket != self._bucket for bucket, _ in told.objects):
            problem = problem or "it speaks of another bucket"
        notice = _Notice(message, frozenset(names), dict(told.mails), problem)
        if not notice.names and not notice.mails:
            self._spent.append(notice)
            return False
        self._held[message.message_id] = notice
        return True

    @property
    def is_full(self) -> bool:
        """Tell that no more should be received now."""
        return len(self._held) + len(self._spent) >= MOST_HELD

    @property
    def is_waiting(self) -> bool:
        """Tell whether a mail was told of that no look has given yet."""
        return any(not notice.looked for notice in self._held.values())

    def mails(self) -> Iterator[str]:
        """Give the keys of mails that are in a notification themselves."""
        for notice in self._held.values():
            yield from notice.mails

    def mail(self, key: str) -> bytes | None:
        """Return such a mail, None when it is not held."""
        return next((notice.mails[key] for notice in self._held.values() if key in notice.mails), None)

    def not_looked_for(self) -> list[str]:
        """Return the names that nobody looked for since they were told."""
        return sorted({name for notice in self._held.values() if not notice.looked for name in notice.names})

    def looked(self, wanted: set[str], there: set[str]) -> None:
        """Note that a look has given what is there of these names, and every mail that is held."""
        for notice in self._held.values():
            if not notice.looked and notice.names <= wanted:
                notice.looked = True
                notice.absent |= notice.names - there

    def fetched(self, name: str, *, vanished: bool = False, failed: bool = False) -> None:
        """Note what came of fetching an object."""
        for notice in self._held.values():
            if name in notice.names:
                notice.failed = notice.failed or failed
                if vanished:
                    notice.absent.add(name)

    def release(self) -> list[str]:
        """Forget all that a look has given, and return the receipts of what may be deleted.

        The rest comes again by itself: what could not be fetched, and (so many times) what is not there or is not
        understood.
        """
        ended = self._take_looked() + self._spent
        self._spent = []
        return [one.message.receipt for one in ended if not one.failed and self._is_done(one)]

    def make_room(self) -> None:
        """Forget what a look has given, without a word on what became of it: it comes again."""
        self._take_looked()

    def forget(self) -> None:
        """Forget all: it comes again."""
        self._held.clear()
        self._spent.clear()

    def _take_looked(self) -> list[_Notice]:
        looked = [notice for notice in self._held.values() if notice.looked]
        self._held = {key: notice for key, notice in self._held.items() if not notice.looked}
        return looked

    def _is_ours(self, name: str) -> bool:
        return name.startswith(self._prefix) and is_mail_name(name)

    def _is_done(self, notice: _Notice) -> bool:
        message = notice.message
        last = message.times >= self._tries
        if notice.absent:
            if last:
                self.without_mail += 1
                log.warning("source.notification_without_mail", keys=sorted(notice.absent)[:5], times=message.times)
            return last
        if notice.problem:
            log.warning(
                "source.notification_unreadable",
                message_id=message.message_id,
                problem=notice.problem,
                times=message.times,
                let_go=last,
                excerpt=message.body[:_MOST_EXCERPT],
            )
            return last
        return True
