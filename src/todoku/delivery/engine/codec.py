"""Bytes of SEND, JOURNAL and KV `runs`: msgpack, compressed with zstd, with a version in front.

A payload is three bytes (kind, kind, version) and the compressed msgpack. A reader refuses what it does not know
with UnreadablePayload; it never guesses. The same value gives the same bytes as long as the zstd library is the same.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TypeVar

import msgspec
import zstandard

from todoku.delivery.engine.journal import JournalMessage, StartRecord
from todoku.delivery.errors import UnreadablePayload
from todoku.delivery.types import Batch, Recipient, RunOrder

Decoded = TypeVar("Decoded")

_BATCH = b"SB\x01"
_ORDER = b"RO\x01"
_JOURNAL = b"JM\x01"
_START = b"ST\x01"
_LARGEST_PAYLOAD_BYTES = 64 * 1024 * 1024  # a bomb of zeros must not fill the memory

_encoder = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(Batch)
_order_decoder = msgspec.msgpack.Decoder(RunOrder)
_journal_decoder = msgspec.msgpack.Decoder(JournalMessage)
_start_decoder = msgspec.msgpack.Decoder(StartRecord)
_recipient_decoder = msgspec.msgpack.Decoder(Recipient)


class OpenBatch(msgspec.Struct, frozen=True):
    """A batch whose recipients are still bytes: one is decoded when its window comes, so that memory stays small."""

    project_id: str
    run_id: str
    seal: int
    number: int
    recipients: tuple[msgspec.Raw, ...]
    time_zone: str = ""
    release_at_utc: datetime | None = None

    def recipient(self, index: int) -> Recipient:
        """Return one recipient; raises UnreadablePayload."""
        try:
            return _recipient_decoder.decode(self.recipients[index])
        except msgspec.MsgspecError as error:
            raise UnreadablePayload(f"recipient {index} of a batch is damaged: {error}", kept="the batch") from error


_open_batch_decoder = msgspec.msgpack.Decoder(OpenBatch)


def encode_batch(batch: Batch) -> bytes:
    """Return the bytes of one sealed batch; merge values must be str, int, float, bool, None, lists or maps."""
    return _BATCH + _compress(_encoder.encode(batch), level=3)


def decode_batch(payload: bytes) -> Batch:
    """Return the batch; raises UnreadablePayload."""
    return _decode(payload, _BATCH, _batch_decoder)


def open_batch(payload: bytes) -> OpenBatch:
    """Return the batch with its recipients still encoded; raises UnreadablePayload."""
    return _decode(payload, _BATCH, _open_batch_decoder)


def encode_order(order: RunOrder) -> bytes:
    """Return the bytes of a run's entry in KV `runs`."""
    return _ORDER + _compress(_encoder.encode(order), level=3)


def decode_order(payload: bytes) -> RunOrder:
    """Return the run's order; raises UnreadablePayload."""
    return _decode(payload, _ORDER, _order_decoder)


def encode_journal(message: JournalMessage) -> bytes:
    """Return the bytes of one journal message."""
    return _JOURNAL + _compress(_encoder.encode(message), level=1)


def decode_journal(payload: bytes) -> JournalMessage:
    """Return the journal message; raises UnreadablePayload."""
    return _decode(payload, _JOURNAL, _journal_decoder)


def encode_start(record: StartRecord) -> bytes:
    """Return the bytes of a run's start record."""
    return _START + _compress(_encoder.encode(record), level=3)


def decode_start(payload: bytes) -> StartRecord:
    """Return the start record; raises UnreadablePayload."""
    return _decode(payload, _START, _start_decoder)


class _Compressors(threading.local):
    """One compressor of each level a thread: making one cost 0.6 µs a message, and two threads can't share it."""

    def __init__(self) -> None:
        self.of_level = {level: zstandard.ZstdCompressor(level=level) for level in (1, 3)}


_compressors = _Compressors()


def _compress(data: bytes, level: int) -> bytes:
    return _compressors.of_level[level].compress(data)


def _decode(payload: bytes, kind: bytes, decoder: msgspec.msgpack.Decoder[Decoded]) -> Decoded:
    if payload[:3] != kind:
        raise UnreadablePayload(
            f"a payload begins with {payload[:3]!r}, expected {kind!r}",
            kept="it stays in its stream",
            todo="update this process: the payload was written by another version",
        )
    try:
        raw = zstandard.ZstdDecompressor().decompress(payload[3:], max_output_size=_LARGEST_PAYLOAD_BYTES)
        return decoder.decode(raw)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise UnreadablePayload(f"a payload of kind {kind!r} is damaged: {error}", kept="it stays in its stream") from (
            error
        )
