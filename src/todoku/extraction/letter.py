"""One mail as the engine looks at it: its words folded for matching, and where a forwarded mail begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from todoku.extraction.compiled import squeeze


@dataclass(frozen=True)
class Letter:
    """A mail to be read by one definition.

    text: the body with quoting marks blanked out; folded: the same, folded, of the same length. begin: where the
    body begins (after the header lines of a forwarded mail). subjects: the subject of the mail and, when there is
    one, of the mail forwarded inside it. sender: the address that counts. date: aware. html: as sent, or None.
    """

    text: str
    folded: str
    begin: int
    subjects: tuple[str, ...]
    sender: str
    date: datetime
    html: str | None

    @cached_property
    def data(self) -> bytes:
        """Return the folded body as UTF-8, on which RE2 works."""
        return self.folded.encode("utf-8", "surrogatepass")

    @cached_property
    def begin_bytes(self) -> int:
        """Return where the body begins in `data`."""
        return len(self.folded[: self.begin].encode("utf-8", "surrogatepass"))

    @cached_property
    def squeezed_subjects(self) -> str:
        """Return the subjects folded, without blanks, one a line."""
        return "\n".join(squeeze(subject) for subject in self.subjects)

    @cached_property
    def squeezed_body(self) -> str:
        """Return the folded body without blanks, so that a wrapped sentence is still found."""
        return "".join(self.folded[self.begin :].split())

    @property
    def domain(self) -> str:
        """Return the part of the sender after @."""
        return self.sender.rpartition("@")[2]
