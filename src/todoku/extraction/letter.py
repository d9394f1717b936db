"""One mail as the engine looks at it: its words folded for matching, and where a forwarded mail begins."""

from __future__ import annotations

from datetime import datetime

from todoku.extraction.compiled import squeeze


class Letter:
    """A mail to be read by one definition.

    text: the body with quoting marks blanked out; folded: the same, folded, of the same length; lined: the same again
    behind one line end, so that every line has one before it. begin: where the body begins (after the header lines of
    a forwarded mail). subjects: the subject of the mail and, when there is one, of the mail forwarded inside it.
    sender: the address that counts. date: aware. html: as sent, or None.
    """

    __slots__ = (
        "_squeezed_body",
        "_squeezed_subjects",
        "begin",
        "date",
        "folded",
        "html",
        "lined",
        "sender",
        "subjects",
        "text",
    )

    def __init__(
        self,
        text: str,
        folded: str,
        begin: int,
        subjects: tuple[str, ...],
        *,
        sender: str,
        date: datetime,
        html: str | None,
    ) -> None:
        self.text = text
        self.folded = folded
        self.lined = "\n" + folded
        self.begin = begin
        self.subjects = subjects
        self.sender = sender
        self.date = date
        self.html = html
        self._squeezed_subjects: str | None = None
        self._squeezed_body: str | None = None

    @property
    def squeezed_subjects(self) -> str:
        """Return the subjects folded, without blanks, one a line."""
        if self._squeezed_subjects is None:
            self._squeezed_subjects = "\n".join([squeeze(subject) for subject in self.subjects])
        return self._squeezed_subjects

    @property
    def squeezed_body(self) -> str:
        """Return the folded body without blanks, so that a wrapped sentence is still found."""
        if self._squeezed_body is None:
            self._squeezed_body = "".join(self.folded[self.begin :].split())
        return self._squeezed_body
