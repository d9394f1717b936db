"""HTML to text in which a label and its value stay on one line.

Rules (the label engine of extraction relies on them):
- The cells of one table row stand on one line with a TAB between them, `人数\\t2名`; so do `<dt>` and `<dd>`.
  A TAB comes from nowhere else: it may be read like a colon. An empty value leaves its TAB: `ご要望\\t`.
- A cell with several lines is layout: its lines stand alone. Only after a short label they follow the TAB.
- Blocks, list items, rows and `<br>` end a line; paragraphs, headings and two `<br>` leave one empty line.
- Entities are resolved. U+00A0 and U+3000 are kept as they are (folding is for matching), except at line ends.
- Dropped: head, style, script, comments, and what is hidden (`hidden`, `display:none`, `visibility:hidden`, mso-hide).
- The http(s) links follow at the end, each on its own line after an empty one, once each, at most 200.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

MOST_HTML_CHARACTERS = 1_000_000
_MOST_LINKS = 200
_DEEPEST_TABLE = 60
_LONGEST_LABEL = 40

_SOFT, _PARAGRAPH, _PRE_SPACE = "\x02", "\x03", "\x04"
_MARKS = str.maketrans(dict.fromkeys("\x00\x02\x03\x04\t", " "))
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_BREAKS = re.compile(r"[ \x02\x03\n]*[\x02\x03\n][ \x02\x03\n]*")
_TABS = re.compile(r" *\t[ \t]*")
_LINE_END_SPACE = re.compile(r"[ \u00a0\u3000]+(?=\n|\Z)")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all", re.IGNORECASE)

_SKIPPED_TAGS = "head style script noscript template title object iframe svg textarea select -comment"
_PARAGRAPH_TAGS = "p h1 h2 h3 h4 h5 h6 table ul ol dl blockquote pre"
_BLOCK_TAGS = (
    "div section article header footer main nav aside address center fieldset form li tr thead tbody tfoot caption "
    "figure figcaption details summary hr dt dd"
)
_SKIPPED = frozenset(_SKIPPED_TAGS.split())
_PARAGRAPHS = frozenset(_PARAGRAPH_TAGS.split())
_BLOCKS = frozenset(_BLOCK_TAGS.split())


class _Row(NamedTuple):
    """An open table row: where its text goes when it closes, and the cells read so far."""

    outside: list[str]
    cells: list[str]


def html_to_text(html: str) -> str:
    """Return the visible text by the rules above; "" for none. Never raises; reads the first million characters."""
    parser = LexborHTMLParser(html[:MOST_HTML_CHARACTERS])
    body = parser.body
    if body is None:
        return ""
    hidden = {
        node.mem_id
        for node in parser.css("[style],[hidden]")
        if "hidden" in node.attributes or _HIDDEN_STYLE.search(node.attributes.get("style") or "")
    }
    text = _Writer(hidden).write(body)
    links = _links(parser)
    if links:
        text = f"{text}\n\n" + "\n".join(links) if text else "\n".join(links)
    return text


def _links(parser: LexborHTMLParser) -> list[str]:
    """Return the targets of the links in order, once each."""
    found: dict[str, None] = {}
    for node in parser.css("a[href]"):
        target = "".join((node.attributes.get("href") or "").split())
        if target.lower().startswith(("http://", "https://")):
            found.setdefault(target)
            if len(found) >= _MOST_LINKS:
                break
    return list(found)


class _Writer:
    """Walks a tree without recursion (hostile HTML is deeper than any stack) and writes its text."""

    def __init__(self, hidden: set[int]) -> None:
        self._hidden = hidden
        self._out: list[str] = []
        self._rows: list[_Row] = []
        self._pre_depth = 0

    def write(self, root: LexborNode) -> str:
        """Return the text below the root."""
        path: list[str] = []
        node = root.first_child
        ancestors: list[LexborNode] = []
        while node is not None or ancestors:
            if node is None:
                parent = ancestors.pop()
                self._close(path.pop())
                node = parent.next
                continue
            tag = node.tag or ""
            if tag == "-text":
                self._text(node.text_content or "")
            elif tag not in _SKIPPED and not (self._hidden and node.mem_id in self._hidden):
                tag = self._open(tag)
                child = node.first_child
                if child is not None:
                    ancestors.append(node)
                    path.append(tag)
                    node = child
                    continue
                self._close(tag)
            node = node.next
        return _lay_out(self._out)

    def _text(self, content: str) -> None:
        content = content.translate(_MARKS) if not content.isprintable() and not self._pre_depth else content
        if self._pre_depth:
            self._out.append(content.replace("\r\n", "\n").replace("\t", " ").replace(" ", _PRE_SPACE))
            return
        self._out.append(_BLANKS.sub(" ", content))

    def _open(self, tag: str) -> str:
        """Begin an element; return the tag that its end is to be handled as."""
        if tag == "br":
            self._out.append("\n")
        elif tag == "tr":
            if len(self._rows) >= _DEEPEST_TABLE:
                return "div"
            self._rows.append(_Row(self._out, []))
            self._out = []
        elif tag in ("td", "th"):
            if not self._rows or self._out is self._rows[-1].outside:
                return "div"
            self._out = []
        elif tag == "dd":
            if "".join(self._out[-3:]).rstrip()[-1:] == "" and "\t" in self._out[-3:]:
                return "dd"
            self._out.append(_SOFT)
        elif tag in _PARAGRAPHS:
            self._pre_depth += tag == "pre"
            self._out.append(_PARAGRAPH)
        elif tag in _BLOCKS:
            self._out.append(_SOFT)
        return tag

    def _close(self, tag: str) -> None:
        if tag == "tr":
            row = self._rows.pop()
            self._out = row.outside
            self._out += (_SOFT, _join_cells(row.cells), _SOFT)
        elif tag in ("td", "th"):
            self._rows[-1].cells.append(_lay_out(self._out))
            self._out = []
        elif tag == "dt":
            self._out.append("\t")
        elif tag in _PARAGRAPHS:
            self._pre_depth -= tag == "pre"
            self._out.append(_PARAGRAPH)
        elif tag in _BLOCKS:
            self._out.append(_SOFT)


def _join_cells(cells: list[str]) -> str:
    """Join the cells of a row: one line with TABs where they are fields, lines where they are layout."""
    if len(cells) == 2 and cells[0] and not cells[1] and "\n" not in cells[0]:
        return cells[0] + "\t"
    joined = ""
    last = ""
    for cell in cells:
        if not cell:
            continue
        if not joined:
            joined = cell
        elif "\n" in last or ("\n" in cell and len(last) > _LONGEST_LABEL):
            joined += "\n" + cell
        else:
            joined += "\t" + cell
        last = cell
    return joined


def _lay_out(pieces: list[str]) -> str:
    """Turn pieces with break marks into lines."""
    text = _BREAKS.sub(_break, "".join(pieces))
    text = _TABS.sub("\t", _BLANKS_INSIDE.sub(" ", text))
    if _PRE_SPACE in text:
        text = text.replace(_PRE_SPACE, " ")
    return _LINE_END_SPACE.sub("", text).strip("\n ")


_BLANKS_INSIDE = re.compile(r" {2,}")


def _break(found: re.Match[str]) -> str:
    marks = found.group()
    return "\n\n" if _PARAGRAPH in marks or marks.count("\n") >= 2 else "\n"
