"""Read SMTP replies from bytes as they come (RFC 5321 section 4.2). Pure, sans-IO."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

LONGEST_REPLY_BYTES = 64 * 1024


class BrokenReply(ValueError):
    """The peer sent something that is no SMTP reply; the connection can't be trusted any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply. code: 200-599. text: its lines without code, joined by a blank; enhanced codes stay in it.

    lines: those lines one by one when there were several, else ().
    """

    code: int
    text: str
    lines: tuple[str, ...] = ()

    def verbatim(self) -> str:
        """Return the reply as one line, as the ledger keeps it."""
        return f"{self.code} {self.text}".rstrip()


class ReplyReader:
    """Collect bytes, hand out whole replies; a multi-line reply comes as one."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._lines_bytes = 0

    @property
    def between_replies(self) -> bool:
        """Tell whether no part of a reply waits for its rest."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that are complete now; raises BrokenReply."""
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST_REPLY_BYTES:
            raise BrokenReply("a reply line without end")
        replies = []
        for line in lines:
            if self._lines or line[3:4] == b"-":
                if (whole := self._joined(line)) is not None:
                    replies.append(whole)
            else:
                replies.append(read_line(line))
        return replies

    def _joined(self, line: bytes) -> Reply | None:
        self._lines.append(line)
        self._lines_bytes += len(line)
        if line[3:4] == b"-":
            if len(self._lines) > 1_000 or self._lines_bytes > LONGEST_REPLY_BYTES:
                raise BrokenReply(f"a reply of more than 1,000 lines or {LONGEST_REPLY_BYTES:,} octets")
            return None
        lines, self._lines, self._lines_bytes = self._lines, [], 0
        if any(one[:3] != line[:3] for one in lines):
            raise BrokenReply(f"a reply changes its code half-way: {lines[0][:80]!r}")
        texts = tuple(one[4:].decode("utf-8", "replace").rstrip() for one in lines)
        return Reply(read_line(line).code, " ".join(texts), texts)


@lru_cache(maxsize=1024)  # a relay says the same few things for every message
def read_line(line: bytes) -> Reply:
    """Return the reply of one last line, without its LF; raises BrokenReply."""
    code = line[:3]
    if not (code.isdigit() and b"200" <= code <= b"599") or line[3:4].strip():
        raise BrokenReply(f"not an SMTP reply: {line[:80]!r}")
    return Reply(int(code), line[4:].decode("utf-8", "replace").rstrip())
