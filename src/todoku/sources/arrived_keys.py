"""Which mails of a source have arrived, by the source's own names for them.

Purpose     tell at a look what is fresh, without asking a database and without trusting a position in a list.
Reads       MAIL (the source's arrivals, each with its key), KV `arrived` (what was known up to a sequence of MAIL).
Writes      KV `arrived`.
Guarantees  a key is known only if its arrival is on MAIL. A crash before `save` costs reading arrivals again; a
            snapshot that is lost or half-written costs fetching mails again, which the reader counts as `duplicate`:
            never a mail.
Limits      about 80 MB of memory for a million keys, 16 MB in KV.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.streams import ARRIVED_BUCKET, MAIL, mail_subject
from todoku.sources.types import Arrival

log = structlog.get_logger(__name__)

_DIGEST_BYTES: Final = 16  # two of a million mails with one digest: once in 10^26
_PART_BYTES: Final = 4 * 1024 * 1024  # a message of the bus holds 8 MB


class _Head(msgspec.Struct, frozen=True):
    """What a snapshot says. Its parts stand under the generation; arrivals up to the sequence are in it."""

    generation: str
    parts: int
    sequence: int


class ArrivedKeys:
    """The keys of one source of one project; made by `load`."""

    def __init__(self, bus: Bus, project_id: str, source: str, digests: set[bytes], sequence: int) -> None:
        self._bucket = bus.bucket(ARRIVED_BUCKET)
        self._bus = bus
        self._subject = mail_subject(project_id, source)
        self._name = f"{project_id}.{source}"
        self._digests = digests
        self._sequence = sequence
        self._generation = ""

    @classmethod
    async def load(cls, bus: Bus, project_id: str, source: str) -> ArrivedKeys:
        """Read the snapshot and the arrivals since; raises the bus's transient errors."""
        keys = cls(bus, project_id, source, set(), 0)
        await keys._read_snapshot()
        await keys._read_arrivals()
        return keys

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._digests)

    def __contains__(self, key: str) -> bool:
        """Tell whether the mail of this key has arrived."""
        return _digest(key) in self._digests

    def add(self, key: str) -> None:
        """Note that the mail's arrival is on MAIL."""
        self._digests.add(_digest(key))

    def forget_all_but(self, listed: Iterable[str]) -> None:
        """Forget what the source does not have any more. listed: a whole listing of it."""
        self._digests.intersection_update({_digest(key) for key in listed})

    async def save(self) -> None:
        """Write a snapshot, at a moment when no arrival of this source is on its way; raises the bus's errors."""
        sequence = await self._bus.last_sequence(MAIL)
        data = b"".join(sorted(self._digests))
        parts = [data[at : at + _PART_BYTES] for at in range(0, len(data), _PART_BYTES)]
        head = _Head(uuid4().hex[:12], len(parts), sequence)
        for number, part in enumerate(parts):
            await self._bucket.put(self._part_key(head.generation, number), part)
        await self._bucket.put(self._name, msgspec.msgpack.encode(head))
        self._sequence = sequence
        await self._remove_other_generations(head.generation)
        log.info("source.arrived_keys_saved", source=self._name, keys=len(self._digests), sequence=sequence)

    async def _read_snapshot(self) -> None:
        entry = await self._bucket.get(self._name)
        if entry is None:
            return
        try:
            head = msgspec.msgpack.decode(entry.value, type=_Head)
        except msgspec.MsgspecError as error:
            log.error("source.arrived_keys_unreadable", source=self._name, error=str(error))
            return
        for number in range(head.parts):
            part = await self._bucket.get(self._part_key(head.generation, number))
            if part is None or len(part.value) % _DIGEST_BYTES:
                log.error("source.arrived_keys_incomplete", source=self._name, part=number)
                self._digests.clear()
                return
            value = part.value
            self._digests.update(value[at : at + _DIGEST_BYTES] for at in range(0, len(value), _DIGEST_BYTES))
        self._sequence = head.sequence

    async def _read_arrivals(self) -> None:
        async for message in self._bus.messages(MAIL, self._subject, after_sequence=self._sequence):
            try:
                arrival = msgspec.msgpack.decode(message.payload, type=Arrival)
            except msgspec.MsgspecError:
                continue  # the reader ends it as unreadable; its mail is fetched again and kept again
            if arrival.cursor:
                self.add(arrival.cursor)

    async def _remove_other_generations(self, generation: str) -> None:
        beginning = f"{self._name}.part."
        for key in await self._bucket.keys():
            if key.startswith(beginning) and not key.startswith(f"{beginning}{generation}."):
                await self._bucket.delete(key)

    def _part_key(self, generation: str, number: int) -> str:
        return f"{self._name}.part.{generation}.{number}"


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
