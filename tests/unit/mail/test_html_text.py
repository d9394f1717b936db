"""HTML to text: the rules that the label engine relies on."""

from __future__ import annotations

import pytest

from todoku.mail.html_text import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<tr><th>人数</th><td>2名</td></tr>", "人数\n2名"),
        ("<table><tr><th>人数</th><td>2名</td></tr></table>", "人数\t2名"),
        ("<table><tr><th>人数<td>2名<tr><th>日付<td>8/30</table>", "人数\t2名\n日付\t8/30"),
        ("<TABLE><TBODY><TR>\n<TD ALIGN=left>人数 </TD>\n<TD>\n 2名\n</TD></TR></TABLE>", "人数\t2名"),
        ("<table><tr><td>ご要望</td><td></td></tr></table>", "ご要望\t"),
        ("<table><tr><td></td><td>本文</td><td> </td></tr></table>", "本文"),
        ("<table><tr><td>コース</td><td>A<br>B</td></tr></table>", "コース\tA\nB"),
        ("<table><tr><td>a<br>b</td><td>c<br>d</td></tr></table>", "a\nb\nc\nd"),
        ("<table><tr><td>1</td><td>2</td><td>3</td></tr></table>", "1\t2\t3"),
        (
            "<table><tr><td><table><tr><th>a</th><td>b</td></tr><tr><th>c</th><td>d</td></tr></table></td></tr></table>",
            "a\tb\nc\td",
        ),
        ("<table><tr><td>a</table>b", "a\n\nb"),
        ("<dl><dt>日付</dt> <dd>8/30</dd><dt>人数<dd>2名</dl>", "日付\t8/30\n人数\n2名"),
        ("a<br>b<br><br>c<div>d</div>e<p>f</p>g", "a\nb\n\nc\nd\ne\n\nf\n\ng"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("a&nbsp;b &amp; c&#12288;d&lt;e&gt; &#x1F363;", "a\u00a0b & c　d<e> 🍣"),
        ("a\n   b\tc", "a b c"),
        ("<td>a\tb&#9;c</td>", "a b c"),
        ("<pre>a\n  b\tc</pre>", "a\n  b c"),
        ("<style>x{}</style><script>y</script><title>t</title><!-- c --><!--[if mso]>m<![endif]-->a", "a"),
        ("<![if !mso]>a<![endif]>", "a"),
        ("<div style='display: none'>pre<div>header</div></div>a", "a"),
        ('<p hidden>x<p>a<span style="mso-hide:all">y</span><i style="VISIBILITY:HIDDEN">z</i>', "a"),
        ('<div class="hidden">a</div><div data-none="none">b</div>', "a\nb"),
        ("<div style='display:none'>never closed <b>text", "never closed text"),
        ("1 < 2 <b>and</b> <", "1 < 2 and <"),
        ("<a href='https://x.example/?a=1&amp;b=2'>予約</a> <a href='HTTPS://x.example/?a=1&b=2'>x</a>",
         "予約 x\n\nhttps://x.example/?a=1&b=2\nHTTPS://x.example/?a=1&b=2"),
        ("<a href='mailto:a@b.example'>a</a><a href='javascript:alert(1)'>b</a>", "ab"),
        ("<a href='https://x.example/'><img></a>", "https://x.example/"),
        ("", ""),
        ("<b", "<b"),
        ("</td></tr></table>a", "a"),
    ],
)  # fmt: skip
def test_rules(html: str, text: str) -> None:
    assert html_to_text(html) == text


def test_tables_deeper_than_any_mail_lose_no_text() -> None:
    text = html_to_text("<table><tr><td>x" * 300 + "</table>" * 300 + "end")
    assert text.count("x") == 300
    assert text.endswith("end")
