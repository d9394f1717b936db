"""Bytes of SEND, JOURNAL and KV `runs`: msgpack, compressed with zstd, with a version in front.

A payload is three bytes (kind, kind, version) and the compressed msgpack. A reader refuses what it does not know
with UnreadablePayload; it never guesses. The same value gives the same bytes as long as the zstd library is the same.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
import zstandard

from todoku.delivery.engine.journal import JournalMessage
from todoku.delivery.errors import UnreadablePayload
from todoku.delivery.types import Batch, RunOrder

Decoded = TypeVar("Decoded")

_BATCH = b"SB\x01"
_ORDER = b"RO\x01"
_JOURNAL = b"JM\x01"
_LARGEST_PAYLOAD_BYTES = 64 * 1024 * 1024  # a bomb of zeros must not fill the memory

_encoder = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(Batch)
_order_decoder = msgspec.msgpack.Decoder(RunOrder)
_journal_decoder = msgspec.msgpack.Decoder(JournalMessage)


def encode_batch(batch: Batch) -> bytes:
    """Return the bytes of one sealed batch; merge values must be str, int, float, bool, None, lists or maps."""
    return _BATCH + _compress(_encoder.encode(batch), level=3)


def decode_batch(payload: bytes) -> Batch:
    """Return the batch; raises UnreadablePayload."""
    return _decode(payload, _BATCH, _batch_decoder)


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


def _compress(data: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(data)


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
