"""One file of notes, written through a shared memory map: a note costs no system call and outlives SIGKILL.

Space is allocated before it is mapped, so a full disk is an OSError at a known place, never a SIGBUS.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from todoku.delivery.types import Answer, AnswerKind

_NOTE = struct.Struct("<IHBHB")  # window, index, what, length of the text that follows, end: packed in this order
_NOTE_BYTES = _NOTE.size
_IS_MARK, _END = 0, 0x0A  # what: 0 = about to complete, else 1 + the answer's kind; an end of 0 is no note (yet)
_FILE_BYTES = 32 * 1024  # notes of 500 messages with usual answers; grows by as much
_KINDS = tuple(AnswerKind)
_WHAT_OF = {kind: number for number, kind in enumerate(_KINDS, start=1)}


class NoteFile:
    """The notes of one batch; those of a second visit stand behind those of the first."""

    def __init__(self, path: Path, on_close: Callable[[NoteFile], None]) -> None:
        """Open or make the file; raises OSError (disk full, no permission)."""
        self.path = path
        self._on_close = on_close
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._size = os.fstat(self._file).st_size or _FILE_BYTES
            self._map = self._mapped(self._size)
        except OSError:
            os.close(self._file)
            raise
        self._end = sum(_NOTE_BYTES + len(note.text) for note in _notes_in(self._map))
        self._map[self._end :] = bytes(self._size - self._end)  # what a killed process wrote in part

    def mark(self, window: int, index: int) -> None:
        """Note that the message is about to be completed; raises OSError."""
        place = self._end
        if place + _NOTE_BYTES > self._size:
            self._grow()
        _NOTE.pack_into(self._map, place, window, index, _IS_MARK, 0, _END)
        self._end = place + _NOTE_BYTES

    def answer(self, window: int, index: int, answer: Answer) -> None:
        """Note an answer; raises OSError."""
        text = answer.text.encode()[:1_000]
        place, behind = self._end, self._end + _NOTE_BYTES
        end = behind + len(text)
        if end > self._size:
            self._grow()
        self._map[behind:end] = text
        _NOTE.pack_into(self._map, place, window, index, _WHAT_OF[answer.kind], len(text), _END)
        self._end = end

    def close(self) -> None:
        """End the visit; the notes stay."""
        self._on_close(self)

    def reuse(self, spare: Path) -> None:
        """Become an empty file under another name; raises OSError.

        Renamed first, so that nobody who looks for the notes of this batch finds half of them.
        """
        self.path.rename(spare)
        self.path = spare
        self._map[: self._end] = bytes(self._end)
        self._end = 0

    def take_name(self, path: Path) -> None:
        """Become the notes of a batch that has none; raises OSError."""
        self.path.rename(path)
        self.path = path

    def unmap(self) -> None:
        """Let go of the file; it stays."""
        self._map.close()
        os.close(self._file)

    def _grow(self) -> None:
        larger = self._mapped(self._size + _FILE_BYTES)
        self._map.close()
        self._map = larger
        self._size += _FILE_BYTES

    def _mapped(self, size: int) -> mmap.mmap:
        os.posix_fallocate(self._file, 0, size)  # OSError when the disk is full
        return mmap.mmap(self._file, size)


class _Note(NamedTuple):
    window: int
    place: int
    what: int
    text: bytes


def _notes_in(data: bytes | mmap.mmap) -> Iterator[_Note]:
    """Read notes up to the first that is missing, damaged or cut off."""
    position, size = 0, len(data)
    while position + _NOTE_BYTES <= size:
        window, index, what, length, end = _NOTE.unpack_from(data, position)
        behind = position + _NOTE_BYTES
        position = behind + length
        if end != _END or what > len(_KINDS) or position > size:
            return
        yield _Note(window, index, what, data[behind:position])


def notes_of(data: bytes, window: int) -> tuple[frozenset[int], dict[int, Answer]]:
    """Return who was about to be completed in one window, and the last answer each had."""
    marks: set[int] = set()
    answers: dict[int, Answer] = {}
    for note in _notes_in(data):
        if note.window != window:
            continue
        if note.what == _IS_MARK:
            marks.add(note.place)
        else:
            text = note.text.decode("utf-8", "replace")
            answers[note.place] = Answer(note.place, _KINDS[note.what - 1], text)
    return frozenset(marks), answers
