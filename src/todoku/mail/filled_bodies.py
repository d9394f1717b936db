"""The two bodies of a message whose templates were taken apart: literals that a run's messages share, and holes.

What never changes can be checked once: line lengths, character set, whether a line begins with a dot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LONGEST_LINE_OCTETS = 998  # RFC 5322 section 2.1.1


@dataclass(frozen=True, slots=True, eq=False)
class BodyLayout:
    """The literals of both bodies, as `body_octets` makes them, a hole between every two. Equal to itself only."""

    text: tuple[bytes, ...]
    html: tuple[bytes, ...]


class FilledBodies(NamedTuple):
    """A layout and what goes into its holes, the text's first: UTF-8 without any control character.

    dot_lines: False only when certainly no line begins with a dot.
    """

    layout: BodyLayout
    holes: tuple[bytes, ...]
    dot_lines: bool = True

    def text(self) -> bytes:
        """Return the text body."""
        return _joined(self.layout.text, self.holes[: len(self.layout.text) - 1])

    def html(self) -> bytes:
        """Return the HTML body."""
        return _joined(self.layout.html, self.holes[len(self.layout.text) - 1 :])


class FilledColumns(NamedTuple):
    """A layout and what goes into its holes in several messages: a column for each hole, the text's first.

    dot_lines: False only when certainly no line of any of them begins with a dot.
    """

    layout: BodyLayout
    holes: Sequence[Sequence[bytes]]
    dot_lines: bool = True


class LineRoom(NamedTuple):
    """How many octets the holes with these numbers may have together, so that their line is not too long."""

    octets: int
    holes: tuple[int, ...]


def line_rooms(literals: tuple[bytes, ...], first_hole: int) -> Iterator[LineRoom]:
    """Yield the room of each line that has a hole or is too long already (then it is negative)."""
    taken, holes = 0, []
    for number, literal in enumerate(literals):
        if number:
            holes.append(first_hole + number - 1)
        for place, line in enumerate(literal.split(b"\r\n")):
            if place:
                if holes or taken > LONGEST_LINE_OCTETS:
                    yield LineRoom(LONGEST_LINE_OCTETS - taken, tuple(holes))
                taken, holes = 0, []
            taken += len(line)
    if holes or taken > LONGEST_LINE_OCTETS:
        yield LineRoom(LONGEST_LINE_OCTETS - taken, tuple(holes))


def fits(rooms: tuple[LineRoom, ...], holes: Sequence[bytes]) -> bool:
    """Tell whether what goes into the holes makes no line too long."""
    return all(sum(len(holes[hole]) for hole in room.holes) <= room.octets for room in rooms)


def _joined(literals: tuple[bytes, ...], holes: tuple[bytes, ...]) -> bytes:
    pieces = [b""] * (2 * len(literals) - 1)
    pieces[::2], pieces[1::2] = literals, holes
    return b"".join(pieces)
