"""Read SMTP replies from bytes as they come (RFC 5321 section 4.2). Pure, sans-IO."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_REPLY_BYTES = 64 * 1024


class BrokenReply(ValueError):
    """The peer sent something that is no SMTP reply; the connection can't be trusted any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply. code: 200-599. text: its lines without code, joined by a blank; enhanced codes stay in it."""

    code: int
    text: str

    def verbatim(self) -> str:
        """Return the reply as one line, as the ledger keeps it."""
        return f"{self.code} {self.text}".rstrip()


class ReplyReader:
    """Collect bytes, hand out whole replies; a multi-line reply comes as one."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that are complete now; raises BrokenReply."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        replies = []
        for line in lines:
            if line[3:4] == b"-":
                self._lines.append(line)
                if len(self._lines) > 1_000:
                    raise BrokenReply("a reply of more than 1,000 lines")
                continue
            replies.append(self._whole(line))
        if len(self._rest) > LONGEST_REPLY_BYTES:
            raise BrokenReply("a reply line without end")
        return replies

    def _whole(self, last: bytes) -> Reply:
        code = last[:3]
        if not (code.isdigit() and b"200" <= code <= b"599") or last[3:4].strip():
            raise BrokenReply(f"not an SMTP reply: {last[:80]!r}")
        text = last[4:].decode("utf-8", "replace").rstrip()
        if self._lines:
            if any(line[:3] != code for line in self._lines):
                raise BrokenReply(f"a reply changes its code half-way: {self._lines[0][:80]!r}")
            text = " ".join([line[4:].decode("utf-8", "replace").rstrip() for line in self._lines] + [text])
            self._lines = []
        return Reply(int(code), text)
