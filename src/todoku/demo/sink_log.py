"""The sink's memory: one file to which every message is appended before it is acknowledged.

A record is a header, the envelope and the message. A record torn by a kill is at the end, because the file only grows;
it was never acknowledged, and the next start cuts it off. Whoever has the file can count without the sink.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final

from todoku.demo.errors import SinkInUse

LOG_NAME: Final = "messages.log"
_HEADER: Final = struct.Struct("<4sIIdQHH")  # magic, content bytes, CRC-32, Unix seconds, key, mail_from and rcpt bytes
_MAGIC: Final = b"TDS1"
_RECIPIENT_HEADER: Final = b"\nx-todoku-recipient:"
_MESSAGE_ID_HEADER: Final = b"\nmessage-id:"


@dataclass(frozen=True, slots=True)
class SinkMessage:
    """One message for one recipient. number: its place in the sink, from 0. raw: as received, dot-unstuffed."""

    number: int
    mail_from: str
    rcpt_to: str
    received_at_utc: datetime
    raw: bytes = field(repr=False)


def recipient_key(content: bytes, rcpt_to: bytes) -> int:
    """Return 64 bits that are equal when a message was sent twice, 0 when the message says nothing to tell by.

    Told by X-Todoku-Recipient, which names one recipient of one run; without it by Message-ID and recipient.
    """
    end = content.find(b"\r\n\r\n")
    head = b"\n" + (content[:end] if end >= 0 else content[:65_536])
    folded = head.lower()
    value = _value(head, folded, _RECIPIENT_HEADER)
    if not value:
        message_id = _value(head, folded, _MESSAGE_ID_HEADER)
        if not message_id:
            return 0
        value = message_id + b"\n" + rcpt_to.lower()
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "little") or 1


def _value(head: bytes, folded: bytes, name: bytes) -> bytes:
    start = folded.find(name)
    if start < 0:
        return b""
    end = head.find(b"\r", start)
    return head[start + len(name) : end if end >= 0 else len(head)].strip()


def make_record(content: bytes, mail_from: bytes, rcpt_to: bytes, unix_seconds: float) -> tuple[bytes, bytes, int]:
    """Return header with envelope, the content, and the key."""
    key = recipient_key(content, rcpt_to)
    envelope = mail_from + rcpt_to
    checksum = zlib.crc32(content, zlib.crc32(envelope))
    header = _HEADER.pack(_MAGIC, len(content), checksum, unix_seconds, key, len(mail_from), len(rcpt_to))
    return header + envelope, content, key


class SinkIndex:
    """Where each record begins, and which keys were seen: 8 bytes a message in an array and one int in a set."""

    def __init__(self) -> None:
        self.offsets = array("Q")
        self.end = 0
        self.doubled = 0
        self._keys: set[int] = set()

    def add(self, key: int, size_bytes: int) -> None:
        """Count one record that stands at the end."""
        self.offsets.append(self.end)
        self.end += size_bytes
        if key:
            before = len(self._keys)
            self._keys.add(key)
            self.doubled += len(self._keys) == before

    def scan(self, descriptor: int) -> None:
        """Count the whole records that stand in the file after what is known."""
        size = os.fstat(descriptor).st_size
        if size - self.end < _HEADER.size:
            return
        with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as view:
            while self.end + _HEADER.size <= size:
                magic, content_bytes, checksum, _, key, from_bytes, rcpt_bytes = _HEADER.unpack_from(view, self.end)
                start = self.end + _HEADER.size
                stop = start + from_bytes + rcpt_bytes + content_bytes
                if magic != _MAGIC or stop > size or (stop == size and zlib.crc32(view[start:stop]) != checksum):
                    return
                self.add(key, stop - self.end)


def read_message(descriptor: int, index: SinkIndex, number: int) -> SinkMessage:
    """Read one record; number must be in the index."""
    offset = index.offsets[number]
    _, content_bytes, _, unix_seconds, _, from_bytes, rcpt_bytes = _HEADER.unpack(
        os.pread(descriptor, _HEADER.size, offset)
    )
    body = os.pread(descriptor, from_bytes + rcpt_bytes + content_bytes, offset + _HEADER.size)
    return SinkMessage(
        number=number,
        mail_from=body[:from_bytes].decode("utf-8"),
        rcpt_to=body[from_bytes : from_bytes + rcpt_bytes].decode("utf-8"),
        received_at_utc=datetime.fromtimestamp(unix_seconds, UTC),
        raw=body[from_bytes + rcpt_bytes :],
    )


class SinkLog:
    """The writer of one sink's file. Raises SinkInUse when another process is the writer, OSError from the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(folder / LOG_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.index = SinkIndex()
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.index.scan(self.descriptor)
            os.ftruncate(self.descriptor, self.index.end)
        except BlockingIOError:
            os.close(self.descriptor)
            raise SinkInUse(f"another process writes to {folder}", todo="stop it, or give another folder") from None
        except BaseException:
            os.close(self.descriptor)
            raise

    def append(self, records: Sequence[tuple[bytes, bytes, int]]) -> None:
        """Write the records as one; on return they survive a kill of this process (not a power cut).

        On OSError nothing of them is kept.
        """
        block = b"".join([part for head, content, _ in records for part in (head, content)])
        try:
            written = os.write(self.descriptor, block)
            while written < len(block):
                written += os.write(self.descriptor, memoryview(block)[written:])
        except OSError:
            os.ftruncate(self.descriptor, self.index.end)
            raise
        for head, content, key in records:
            self.index.add(key, len(head) + len(content))

    def close(self) -> None:
        """Close the file; idempotent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class SinkReader:
    """Look at a sink's messages from any process, also while the sink writes. May be shared by threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_NAME
        self._index = SinkIndex()
        self._descriptor = -1
        self._lock = threading.Lock()

    def count(self) -> int:
        """Return how many messages the sink accepted, one for each recipient; 0 before it ever ran."""
        with self._lock:
            self._refresh()
            return len(self._index.offsets)

    def doubled(self) -> int:
        """Return how many of them had come before (see `recipient_key`)."""
        with self._lock:
            self._refresh()
            return self._index.doubled

    def newest(self, limit: int, offset: int) -> Sequence[SinkMessage]:
        """Return up to `limit` messages, newest first, after leaving out `offset` of them."""
        with self._lock:
            self._refresh()
            return newest_messages(self._descriptor, self._index, limit, offset)

    def get(self, number: int) -> SinkMessage | None:
        """Return one message, None when there is no such number."""
        with self._lock:
            self._refresh()
            if not 0 <= number < len(self._index.offsets):
                return None
            return read_message(self._descriptor, self._index, number)

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _refresh(self) -> None:
        if self._descriptor >= 0 and not self._same_file():
            os.close(self._descriptor)
            self._descriptor = -1
            self._index = SinkIndex()
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
        self._index.scan(self._descriptor)

    def _same_file(self) -> bool:
        """Tell whether the path still leads to the open file, and the file still holds what is indexed."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        opened = os.fstat(self._descriptor)
        return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino) and now.st_size >= self._index.end


def newest_messages(descriptor: int, index: SinkIndex, limit: int, offset: int) -> list[SinkMessage]:
    """Read up to `limit` messages, newest first, after leaving out `offset` of them."""
    last = len(index.offsets) - 1 - max(0, offset)
    return [read_message(descriptor, index, number) for number in range(last, max(-1, last - max(0, limit)), -1)]
