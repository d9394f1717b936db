"""A process of its own for one big audience: `python -m todoku.campaigns.packing_process`.

Reads one PackJob from its input, writes what `pack` yields to its output, each as four bytes of length and msgpack.
It ends when its input ends, so that it never outlives the planner that made it.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import traceback
from typing import BinaryIO

import msgspec
import psycopg

from todoku.campaigns.packing import PackFailed, PackJob, pack

LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()


def main() -> None:
    """Pack one job; exit code 0 also when it failed, because then the last word says how."""
    sink = os.fdopen(os.dup(1), "wb", buffering=1024 * 1024)
    job = msgspec.msgpack.decode(_read(), type=PackJob)
    threading.Thread(target=_end_with_planner, daemon=True).start()
    try:
        for packed in pack(job):
            _write(sink, packed)
    except psycopg.Error as error:
        _write(sink, PackFailed(type(error).__name__, str(error), True))
    except Exception as error:  # noqa: BLE001 - whatever it is, the planner must hear of it
        traceback.print_exc()
        _write(sink, PackFailed(type(error).__name__, str(error), False))


def _read() -> bytes:
    (length,) = LENGTH.unpack(_exactly(LENGTH.size))
    return _exactly(length)


def _exactly(count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            sys.exit(0)  # the planner is gone
        data += more
    return data


def _write(sink: BinaryIO, packed: msgspec.Struct) -> None:
    data = _encoder.encode(packed)
    sink.write(LENGTH.pack(len(data)))
    sink.write(data)
    sink.flush()


def _end_with_planner() -> None:
    os.read(0, 1)  # returns when the planner closes the pipe or dies
    os._exit(0)


if __name__ == "__main__":
    main()
