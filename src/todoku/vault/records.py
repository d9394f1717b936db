"""Records of packs: a head with its check, the project, the content; each names itself, so a pack needs no index."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = struct.Struct(">4sIB3xQ32s")  # magic, CRC-32 of what follows and the project, lengths, SHA-256
_MAGIC = b"TDK1"
_UNCHECKED = 8  # octets of the head: magic and CRC
_LONGEST_PROJECT = 64
_SEARCH_OCTETS = 1024 * 1024


class Content(NamedTuple):
    """What is to be kept. digest: SHA-256 of the content."""

    project_id: str
    digest: bytes
    content: bytes


class Place(NamedTuple):
    """Where a content lies in a pack; offset and length are of the content alone, in octets."""

    project_id: str
    digest: bytes
    offset: int
    length: int


def digest_of(content: bytes) -> bytes:
    """Return the SHA-256."""
    return hashlib.sha256(content).digest()


def head_of(content: Content) -> bytes:
    """Return what stands before the content: head and project."""
    project = content.project_id.encode("ascii")
    head = _HEAD.pack(_MAGIC, 0, len(project), len(content.content), content.digest)
    check = zlib.crc32(project, zlib.crc32(head[_UNCHECKED:])).to_bytes(4, "big")
    return b"".join((_MAGIC, check, head[_UNCHECKED:], project))


def places(descriptor: int, begin: int = 0) -> Iterator[Place]:
    """Yield the records whose heads are whole and whose contents are within the file; contents are not read.

    Behind a spoilt head the next one is looked for, so one bad sector costs one content and not the rest of its pack.
    """
    size = os.fstat(descriptor).st_size
    at = begin
    while at + _HEAD.size <= size:
        place = _place(descriptor, at, size)
        if place is not None:
            yield place
            at = place.offset + place.length
            continue
        found = _next_magic(descriptor, at + 1)
        if found is None:
            return
        at = found


def _place(descriptor: int, at: int, size: int) -> Place | None:
    octets = os.pread(descriptor, _HEAD.size + _LONGEST_PROJECT, at)
    if len(octets) < _HEAD.size or octets[:4] != _MAGIC:
        return None
    _, check, project_octets, length, digest = _HEAD.unpack_from(octets)
    project = octets[_HEAD.size : _HEAD.size + project_octets]
    if check != zlib.crc32(project, zlib.crc32(octets[_UNCHECKED : _HEAD.size])) or not project.isascii():
        return None
    offset = at + _HEAD.size + project_octets
    return Place(project.decode("ascii"), digest, offset, length) if offset + length <= size else None


def _next_magic(descriptor: int, at: int) -> int | None:
    while len(octets := os.pread(descriptor, _SEARCH_OCTETS, at)) >= len(_MAGIC):
        found = octets.find(_MAGIC)
        if found >= 0:
            return at + found
        at += len(octets) - len(_MAGIC) + 1
    return None
