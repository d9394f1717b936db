from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.extraction.types import Evidence
from todoku.web.safe_html import clean_mail_html, framed_page, mark_evidence


@pytest.mark.parametrize(
    ("hostile", "never"),
    [
        ("<script>alert(1)</script>ok", "script"),
        ('<img src="https://tracker.example/x.gif">', "tracker.example"),
        ('<img src="//tracker.example/x.gif">', "tracker.example"),
        ('<img src="data:image/svg+xml,<svg/>">', "svg"),
        ('<img src=" DATA:image/SVG+xml;base64,PHN2Zy8+">', "PHN2Zy8"),
        ('<img src=x onerror="alert(1)">', "onerror"),
        ('<a href="javascript:alert(1)">x</a>', "javascript"),
        ('<form action="https://evil.example"><input name=a></form>', "<form"),
        ("<iframe src='https://evil.example'></iframe>", "iframe"),
        ('<div style="background:url(https://evil.example/a)">x</div>', "evil.example"),
        ('<div style="position:fixed;inset:0">x</div>', "position"),
        ("<style>@import url(https://evil.example)</style>x", "evil.example"),
        ('<meta http-equiv="refresh" content="0;url=https://evil.example">', "evil.example"),
        ("<svg><script>alert(1)</script></svg>", "alert"),
        ('<base href="https://evil.example/">', "evil.example"),
        ('<link rel="stylesheet" href="https://evil.example/a.css">', "evil.example"),
    ],
)
def test_hostile_html_loses_what_acts_or_loads(hostile: str, never: str) -> None:
    assert never not in clean_mail_html(hostile)


def test_what_only_shows_stays() -> None:
    html = '<table border="1"><tr><td style="color: #c60; font-weight: bold">19:00 髙橋①</td></tr></table>'
    cleaned = clean_mail_html(html)
    assert "19:00 髙橋①" in cleaned
    assert "color:#c60" in cleaned.replace(" ", "")


def test_pictures_of_the_author_stay_only_over_https() -> None:
    html = '<img src="https://shop.example/a.png"><img src="http://shop.example/b.png">'
    cleaned = clean_mail_html(html, pictures=True)
    assert "a.png" in cleaned
    assert "b.png" not in cleaned


def test_pixels_that_the_mail_carries_stay() -> None:
    assert "data:image/png;base64,iVBORw0KGgo=" in clean_mail_html('<img src="data:image/png;base64,iVBORw0KGgo=">')


def test_a_framed_page_escapes_its_title() -> None:
    assert "<b>" not in framed_page("<b>", "", "ja")


def test_evidence_is_marked_and_text_is_escaped() -> None:
    text = "お名前：<髙橋> 人数：4名"
    spans = (
        Evidence("guest.name", "text", 5, 7),
        Evidence("party_size", "text", 12, 13),
        Evidence("shop", "html", 0, 3),
    )
    marked = mark_evidence(text, spans, "text")
    assert '&lt;<mark id="e-guest.name" data-f="guest.name">髙橋</mark>&gt;' in marked
    assert '<mark id="e-party_size" data-f="party_size">4</mark>名' in marked
    assert "shop" not in marked


def test_an_id_is_given_once_a_field() -> None:
    spans = (Evidence("start", "text", 0, 2), Evidence("start", "text", 3, 5))
    marked = mark_evidence("12/05 19:00", spans, "text")
    assert marked.count("<mark") == 2
    assert marked.count('id="e-start"') == 1


@given(
    st.text(max_size=40),
    st.lists(st.tuples(st.integers(-3, 45), st.integers(-3, 45)), max_size=8),
)
def test_marking_never_loses_or_adds_text(text: str, spans: list[tuple[int, int]]) -> None:
    import html
    import re

    marked = mark_evidence(text, [Evidence("f", "text", start, end) for start, end in spans], "text")
    assert html.unescape(re.sub(r"</?mark[^>]*>", "", marked)) == text
