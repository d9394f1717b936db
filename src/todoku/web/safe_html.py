"""Hostile text made harmless: mail text with its evidence marked, mail HTML without anything that acts or loads."""

from __future__ import annotations

from collections.abc import Iterable

import nh3
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from todoku.extraction.types import Evidence

_TAGS = frozenset(
    [
        "a",
        "abbr",
        "address",
        "b",
        "bdi",
        "bdo",
        "blockquote",
        "br",
        "caption",
        "center",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "font",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "kbd",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "samp",
        "section",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "tt",
        "u",
        "ul",
        "wbr",
    ]
)
_EVERYWHERE = frozenset({"style", "align", "valign", "width", "height", "bgcolor", "color", "dir", "lang", "title"})
_ATTRIBUTES = {
    "*": set(_EVERYWHERE),
    "img": {"src", "alt"},
    "table": {"border", "cellpadding", "cellspacing"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "font": {"face", "size"},
    "ol": {"start"},
}
_STYLES = frozenset(
    [
        "background-color",
        "border",
        "border-bottom",
        "border-collapse",
        "border-color",
        "border-left",
        "border-radius",
        "border-right",
        "border-spacing",
        "border-style",
        "border-top",
        "border-width",
        "color",
        "display",
        "font",
        "font-family",
        "font-size",
        "font-style",
        "font-weight",
        "height",
        "letter-spacing",
        "line-height",
        "list-style-type",
        "margin",
        "margin-bottom",
        "margin-left",
        "margin-right",
        "margin-top",
        "max-width",
        "min-width",
        "padding",
        "padding-bottom",
        "padding-left",
        "padding-right",
        "padding-top",
        "text-align",
        "text-decoration",
        "text-indent",
        "vertical-align",
        "white-space",
        "width",
        "word-break",
    ]
)
# Pixels only: a picture in SVG is a program for the renderer, and a few nested <use> keep it busy for hours.
_PIXELS = tuple(f"data:image/{kind}" for kind in ("png", "jpeg", "jpg", "gif", "webp", "bmp"))
_PAGE = (
    '<!doctype html><html lang="{}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{}</title><style>body{{font:15px/1.7 sans-serif;margin:16px;color:#222;background:#fff;"
    "overflow-wrap:anywhere}}img{{max-width:100%;height:auto}}</style><body>{}</body></html>"
)


def clean_mail_html(html: str, *, pictures: bool = False) -> str:
    """Return the HTML without scripts, forms, links and frames; only tags and styles that show.

    pictures: keep https pictures, for an author's own campaign; a stranger's mail loads nothing.
    """
    sources = (*_PIXELS, "https://") if pictures else _PIXELS

    def keep(tag: str, name: str, value: str) -> str | None:
        # relative addresses have no scheme to judge: //tracker.example/x.gif would be loaded
        return None if name == "src" and not value.strip().lower().startswith(sources) else value

    return nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags={"script", "style", "title", "noscript", "template", "svg", "math"},
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        filter_style_properties=set(_STYLES),
        url_schemes={"data", "https"} if pictures else {"data"},
        attribute_filter=keep,
        strip_comments=True,
        link_rel=None,
    )


def framed_page(title: str, cleaned: str, language: str) -> str:
    """Return a whole page around cleaned HTML; to be answered with middleware.FRAME_POLICY only."""
    return _PAGE.format(escape(language), escape(title), cleaned)


def mark_evidence(text: str, evidence: Iterable[Evidence], source: str) -> SafeString:
    """Return the text escaped, with the places of `source` from which values came marked and named by their field.

    In "text" the first mark of a field has the id `e-<field>`; of overlapping places the one that begins first stays.
    """
    places = sorted(
        (one for one in evidence if one.source == source and 0 <= one.start < one.end <= len(text)),
        key=lambda one: (one.start, -one.end),
    )
    parts: list[str] = []
    seen: set[str] = set()
    at = 0
    for place in places:
        if place.start < at:
            continue
        parts.append(escape(text[at : place.start]))
        inside = text[place.start : place.end]
        name = format_html(' id="e-{}"', place.field) if source == "text" and place.field not in seen else ""
        parts.append(format_html('<mark{} data-f="{}">{}</mark>', name, place.field, inside))
        seen.add(place.field)
        at = place.end
    parts.append(escape(text[at:]))
    return mark_safe("".join(parts))  # noqa: S308 - every part is escaped above
