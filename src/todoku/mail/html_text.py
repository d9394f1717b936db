"""HTML to text in which a label and its value stay on one line.

Rules (the label engine of extraction relies on them):
- The cells of one table row stand on one line with a TAB between them, `人数\\t2名`; so do `<dt>` and `<dd>`.
  A TAB comes from nowhere else: it may be read like a colon. An empty value leaves its TAB: `ご要望\\t`.
- A cell with several lines is layout: its lines stand alone. Only after a short label they follow the TAB.
- Blocks, list items, rows and `<br>` end a line; paragraphs, headings and two `<br>` leave one empty line.
- Entities are resolved. U+00A0 and U+3000 are kept as they are (folding is for matching), except at line ends.
- Dropped: style, script, title, comments, and what is hidden (`hidden`, `display:none`, `visibility:hidden`, mso-hide).
- The http(s) links follow at the end, each on its own line after an empty one, once each, at most 200.

No tree is built: a tree costs the square of its depth (a compiled HTML5 parser was measured at 0.27 s for 8,000 nested
elements, so a mail of 1 MB could stop reading for minutes). One pass over the tags is enough for text.
"""

from __future__ import annotations

import re
from html import unescape
from typing import NamedTuple

MOST_HTML_CHARACTERS = 1_000_000
_MOST_LINKS = 200
_DEEPEST_FRAME = 100
_LONGEST_LABEL = 40

_SOFT, _PARAGRAPH, _PRE_SPACE = "\x02", "\x03", "\x04"
_LINE_END_BLANKS = " \u00a0\u3000"
_MARKS = re.compile("[\x00\x02\x03\x04]")
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_BREAKS = re.compile(r" ?[\x02\x03\n][ \x02\x03\n]*+")
_TABS = re.compile(r" ?\t[ \t]*+")
_MANY_SPACES = re.compile(r" {2,}")

# Possessive, so that no tag is tried twice however its quotes are broken; "<" ends an unfinished tag.
_TAG = re.compile(
    r"""<!--(?:-?>|(?:[^-]++|-(?!-!?>))*+(?:--!?>|\Z))"""
    r"""|<(?P<close>/?)(?P<name>[a-zA-Z][^\s/><]*+)(?P<attributes>(?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>"""
    r"""|<[!?/][^<>]*+>"""
)
_ATTRIBUTE = re.compile(r"""([^\s=/"'<>]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'<>]++)))?""")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all", re.IGNORECASE)

_RAW_TAGS = "script style title"
_UNSEEN_TAGS = "template object iframe svg select textarea noframes"
_PARAGRAPH_TAGS = "p h1 h2 h3 h4 h5 h6 ul ol dl blockquote"
_BLOCK_TAGS = (
    "div section article header footer main nav aside address center fieldset form li caption figure figcaption "
    "details summary hr option body"
)
_VOID_TAGS = "br hr img input meta link col area base embed source track wbr"
_RAW = {name: re.compile(rf"</{name}[^<>]*+>", re.IGNORECASE) for name in _RAW_TAGS.split()}
_UNSEEN = frozenset(_UNSEEN_TAGS.split())
_VOID = frozenset(_VOID_TAGS.split())
_BREAK_OF = {
    **dict.fromkeys(_PARAGRAPH_TAGS.split(), _PARAGRAPH),
    **dict.fromkeys(_BLOCK_TAGS.split(), _SOFT),
    "br": "\n",
}
_STARTS_ANEW = frozenset(("p", "li", "dt", "dd", "tr", "td", "th"))
_TABLE_TAGS = frozenset(("table", "thead", "tbody", "tfoot", "tr", "td", "th"))


def html_to_text(html: str) -> str:
    """Return the visible text by the rules above; "" for none. Never raises; reads the first million characters."""
    writer = _Writer(html[:MOST_HTML_CHARACTERS])
    text = writer.write()
    if writer.links:
        links = "\n".join(writer.links)
        return f"{text}\n\n{links}" if text else links
    return text


class _Frame(NamedTuple):
    """An open table, row or cell; a row keeps its cells, all keep where the text around them goes."""

    kind: str
    outside: list[str]
    cells: list[str]


class _Writer:
    """Passes once over the tags of one document and writes its text."""

    def __init__(self, html: str) -> None:
        self.links: dict[str, None] = {}
        self._html = html
        self._out: list[str] = []
        self._frames: list[_Frame] = []
        self._tables_too_deep = 0
        self._pre_depth = 0
        self._never_ends: set[str] = set()

    def write(self) -> str:
        """Return the text."""
        position = 0
        html = self._html
        while (tag := _TAG.search(html, position)) is not None:
            if tag.start() > position:
                self._text(html[position : tag.start()])
            position = tag.end()
            close, name, attributes = tag.groups()
            if name is None:
                continue
            name = name.lower()
            if close:
                self._close(name)
            elif name in _RAW:
                position = self._end_of_raw(position, name)
            elif name in _UNSEEN or (attributes and _is_hidden(attributes)):
                position = self._end_of_element(position, name, attributes)
            else:
                self._open(name, attributes)
        self._text(html[position:])
        while self._frames:
            self._close_frame()
        return _lay_out(self._out)

    def _end_of_raw(self, position: int, name: str) -> int:
        """Return where the text of a script or style ends; without an end tag it is all that follows."""
        end = _RAW[name].search(self._html, position)
        return end.end() if end is not None else len(self._html)

    def _end_of_element(self, position: int, name: str, attributes: str) -> int:
        """Return where an element that is not seen ends; one that never ends hides nothing but its own tag."""
        if name in _VOID or name in self._never_ends or attributes.endswith("/"):
            return position
        depth = 1
        for tag in _TAG.finditer(self._html, position):
            inner = tag["name"]
            if inner is None or inner.lower() != name:
                continue
            if tag["close"]:
                depth -= 1
            elif name in _STARTS_ANEW and depth == 1:
                return tag.start()
            elif not tag["attributes"].endswith("/"):
                depth += 1
            if depth == 0:
                return tag.end()
        self._never_ends.add(name)  # looked for once, or many such tags would cost the square of the document
        return position

    def _text(self, content: str) -> None:
        if "&" in content:
            content = unescape(content)
        if not content.isprintable():
            content = _MARKS.sub(" ", content)
        if self._pre_depth:
            content = content.replace("\r\n", "\n").replace("\t", " ").replace(" ", _PRE_SPACE)
        else:
            content = _BLANKS.sub(" ", content)
        self._out.append(content)

    def _open(self, name: str, attributes: str) -> None:
        if name in _TABLE_TAGS:
            self._open_table_part(name)
        elif name == "a":
            self._keep_link(attributes)
        elif name == "pre":
            self._pre_depth += 1
            self._out.append(_PARAGRAPH)
        elif name == "dt":
            self._out.append(_SOFT)
        elif name == "dd":
            if not self._after_label():
                self._out.append(_SOFT)
        elif name in _BREAK_OF:
            self._out.append(_BREAK_OF[name])

    def _close(self, name: str) -> None:
        if name in _TABLE_TAGS:
            self._close_table_part(name)
        elif name == "pre":
            self._pre_depth = max(0, self._pre_depth - 1)
            self._out.append(_PARAGRAPH)
        elif name == "dt":
            self._out.append("\t")
        elif name == "dd":
            self._out.append(_SOFT)
        elif name in _BREAK_OF:
            self._out.append(_BREAK_OF[name])

    def _after_label(self) -> bool:
        """Tell whether the text so far ends in the TAB of a `<dt>`."""
        last = next((piece for piece in reversed(self._out[-3:]) if piece.strip(" ")), "")
        return last == "\t"

    def _keep_link(self, attributes: str) -> None:
        if len(self.links) >= _MOST_LINKS:
            return
        target = "".join(unescape(_attribute(attributes, "href")).split())
        if target[:8].lower().startswith(("http://", "https://")):
            self.links.setdefault(target)

    def _open_table_part(self, name: str) -> None:
        if name == "table":
            if len(self._frames) >= _DEEPEST_FRAME:
                self._tables_too_deep += 1
                return
            self._out.append(_PARAGRAPH)
            self._frames.append(_Frame("table", self._out, []))
            return
        if self._tables_too_deep or not self._frames:
            self._out.append(_SOFT)
            return
        if name in ("td", "th"):
            if self._frames[-1].kind == "cell":
                self._close_frame()
            if self._frames[-1].kind == "table":
                self._begin("row")
            self._begin("cell")
            return
        self._close_to("table")
        if name == "tr":
            self._begin("row")

    def _close_table_part(self, name: str) -> None:
        if self._tables_too_deep or not self._frames:
            self._tables_too_deep -= name == "table" and self._tables_too_deep > 0
            self._out.append(_SOFT)
        elif name == "table":
            self._close_to("table")
            self._close_frame()
        elif name in ("td", "th"):
            if self._frames[-1].kind == "cell":
                self._close_frame()
        else:
            self._close_to("table")

    def _begin(self, kind: str) -> None:
        self._frames.append(_Frame(kind, self._out, []))
        self._out = []

    def _close_to(self, kind: str) -> None:
        """Close rows and cells whose end tags are missing, up to the innermost table."""
        while self._frames[-1].kind != kind:
            self._close_frame()

    def _close_frame(self) -> None:
        frame = self._frames.pop()
        inside = self._out
        self._out = frame.outside
        if frame.kind == "cell":
            self._frames[-1].cells.append(_lay_out(inside))
        elif frame.kind == "row":
            stray = _lay_out(inside)
            self._out += (_SOFT, stray, _SOFT, _join_cells(frame.cells), _SOFT)
        else:
            self._out.append(_PARAGRAPH)


def _attribute(attributes: str, wanted: str) -> str:
    """Return the value of an attribute, "" when it is absent or has none."""
    for name, double, single, bare in _ATTRIBUTE.findall(attributes):
        if name.lower() == wanted:
            return str(double or single or bare)
    return ""


def _is_hidden(attributes: str) -> bool:
    lowered = attributes.lower()
    if "hid" not in lowered and "none" not in lowered:
        return False
    if _HIDDEN_STYLE.search(_attribute(attributes, "style")):
        return True
    return "hidden" in lowered and any(name.lower() == "hidden" for name, *_ in _ATTRIBUTE.findall(attributes))


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
    text = "".join(pieces)
    if "  " in text:
        text = _MANY_SPACES.sub(" ", text)
    if _SOFT in text or _PARAGRAPH in text or "\n" in text:
        text = _BREAKS.sub(_break, text)
    if "\t" in text:
        text = _TABS.sub("\t", text)
    if _PRE_SPACE in text:
        text = text.replace(_PRE_SPACE, " ")
    if "\n" in text:
        text = "\n".join([line.rstrip(_LINE_END_BLANKS) for line in text.split("\n")])
    return text.lstrip("\n ").rstrip("\n" + _LINE_END_BLANKS)


def _break(found: re.Match[str]) -> str:
    marks = found.group()
    return "\n\n" if _PARAGRAPH in marks or marks.count("\n") >= 2 else "\n"
