"""Make the streams and buckets of `bus.streams` exist on the server as they are written there."""

from __future__ import annotations

from typing import Any

import structlog

from todoku.bus import wire
from todoku.bus.buckets import bucket_stream
from todoku.bus.errors import BusError, BusUnavailable
from todoku.bus.link import Link
from todoku.bus.streams import BUCKETS, STREAMS, StreamSpec

log = structlog.get_logger(__name__)


async def declare_all(link: Link, replicas: int) -> None:
    """Declare every stream and bucket; see `Bus.declare`."""
    for spec in STREAMS:
        also = {"allow_atomic": True} if spec.allow_atomic and link.batches_sync_once else {}
        await _declare(link, stream_config(spec) | also, replicas)
    for name in BUCKETS:
        await _declare(link, bucket_config(name), replicas)


def stream_config(spec: StreamSpec) -> dict[str, Any]:
    """Return the server's configuration of a stream: file storage, limits retention, nothing dropped but by age."""
    return {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_age": wire.nanoseconds(spec.max_age_seconds),
        "duplicate_window": wire.nanoseconds(spec.duplicate_window_seconds),
        "allow_direct": spec.allow_direct,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
    }


def bucket_config(name: str) -> dict[str, Any]:
    """Return the server's configuration of a bucket with history 1 (ADR-8)."""
    return {
        "name": bucket_stream(name),
        "subjects": [f"$KV.{name}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "duplicate_window": wire.nanoseconds(120),
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msgs_per_subject": 1,
        "max_msg_size": -1,
        "max_consumers": -1,
    }


async def _declare(link: Link, wanted: dict[str, Any], replicas: int) -> None:
    name = wanted["name"]
    found = await link.api(f"STREAM.INFO.{name}", None, wire.StreamAnswer)
    if found.error is None:
        copies = max(replicas, int(found.config.get("num_replicas", 1)))
        wanted = wanted | {"num_replicas": copies}
        if all(found.config.get(key) == value for key, value in wanted.items()):
            return
        if found.config.get("storage") != "file":
            raise BusError(
                f"the stream {name} keeps its messages in memory",
                todo="move its messages elsewhere, remove it, and declare again",
            )
        action, config = "UPDATE", found.config | wanted
    elif found.error.err_code == wire.ERROR_STREAM_MISSING:
        action, config = "CREATE", wanted | {"num_replicas": replicas}
    else:
        raise BusUnavailable(f"NATS can't tell about the stream {name}: {found.error.description}", todo="try again")
    answer = await link.api(f"STREAM.{action}.{name}", config, wire.StreamAnswer, 10.0)
    if answer.error is not None:
        error = BusUnavailable if answer.error.code >= 500 else BusError
        raise error(f"NATS refuses the stream {name}: {answer.error.description}")
    log.info("bus.stream_declared", stream=name, action=action.lower())
