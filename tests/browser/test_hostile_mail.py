"""A mail made to load or to run something, in a real Chromium: nobody is asked, nothing runs, no page moves."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, expect
from tests.browser.conftest import LiveSite, Visitor

TRAPPED_WITHIN_SECONDS = 20.0
# Each names its own path at the trap, so that a request says which trick worked.
LOADING = (
    '<img src="{trap}/img">',
    "<img src=x onerror=\"fetch('{trap}/onerror')\">",
    '<img srcset="{trap}/srcset 1x, {trap}/srcset2 2x" alt="">',
    '<picture><source srcset="{trap}/source"><img alt=""></picture>',
    '<img src="//{host}/no-scheme">',
    '<div style="background:url({trap}/style-url)">a</div>',
    '<div style="background-image:u\\72l({trap}/style-escaped)">b</div>',
    '<div style="border-image:url({trap}/border-image) 1;width:9px;height:9px">c</div>',
    '<ul style="list-style:url({trap}/list-style)"><li>d</li></ul>',
    "<style>@import url({trap}/import);p{{background:url({trap}/sheet-url)}}</style><p>e</p>",
    '<link rel="stylesheet" href="{trap}/link">',
    '<iframe src="{trap}/iframe"></iframe>',
    '<iframe srcdoc="&lt;img src={trap}/srcdoc&gt;"></iframe>',
    '<object data="{trap}/object"></object>',
    '<embed src="{trap}/embed">',
    '<video poster="{trap}/poster" src="{trap}/video" autoplay muted></video>',
    '<audio src="{trap}/audio" autoplay></audio>',
    '<svg width="9" height="9"><image href="{trap}/svg-image" width="9" height="9"/></svg>',
    '<svg><script>fetch("{trap}/svg-script")</script></svg>',
    '<svg><foreignObject><img src="{trap}/foreign-object"/></foreignObject></svg>',
    "<svg onload=\"fetch('{trap}/svg-onload')\"></svg>",
    '<table background="{trap}/background"><tr><td background="{trap}/td-background">f</td></tr></table>',
    '<input type="image" src="{trap}/input-image">',
    "<script src='{trap}/script'></script><script>fetch('{trap}/inline');alert('run')</script>",
    "<input autofocus onfocus=\"fetch('{trap}/onfocus')\">",
    "<details open ontoggle=\"fetch('{trap}/ontoggle')\">g</details>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src={trap}/mutation&gt;">'
    "</table></mtext></math>",
    '<noscript><p title="</noscript><img src={trap}/noscript>"></noscript>',
)
# These move the page, or wait for a click; the browser of the proof would leave before the rest had loaded.
ACTING = (
    '<meta http-equiv="refresh" content="0;url={trap}/refresh">',
    '<base href="{trap}/base/" target="_top"><img src="relative-to-base">',
    '<form action="{trap}/form" method="post"><input name="a"><button>Confirm</button></form>',
    '<a href="{trap}/link-plain">plain</a> <a href="{trap}/link-blank" target="_blank">blank</a>',
    '<a href="{trap}/link-top" target="_top" ping="{trap}/ping">top</a> <a href="javascript:alert(1)">run</a>',
    '<a href="data:text/html,<script>alert(2)</script>">data</a>',
    '<svg><use href="{trap}/use#x"/><a href="{trap}/svg-link"><text y="20">svg</text></a></svg>',
    '<map name="m"><area href="{trap}/area" shape="default"></map><img src="cid:logo@seats" usemap="#m">',
    '<img src="data:image/svg+xml,<svg xmlns=%22http://www.w3.org/2000/svg%22 width=%229%22 height=%229%22>'
    '<image href=%22{trap}/in-data%22/><script>alert(3)</script></svg>">',
    "<style>p{{behavior:url({trap}/behavior);-moz-binding:url({trap}/binding)}}</style>",
    '<div style="behavior:url({trap}/behavior2);-moz-binding:url({trap}/binding2);position:fixed;inset:0">h</div>',
    '<a id="main" name="csrfmiddlewaretoken">clobber</a>',
)
MUST_WORK_UNCLEANED = {
    *("img", "onerror", "source", "style-url", "border-image", "import", "link", "iframe", "srcdoc", "poster"),
    *("svg-image", "svg-script", "svg-onload", "background", "script", "inline", "onfocus", "ontoggle"),
}


class Trap:
    """A server of the attacker: it keeps the path of each request, and serves the body as the mail had it."""

    def __init__(self) -> None:
        self._asked: list[str] = []
        self._changed = threading.Condition()
        trap = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                trap.note(self.path)
                answer = trap.bare.encode() if self.path == "/bare" else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET  # noqa: N815 - the name that the server calls

            def log_message(self, format: str, *args: object) -> None:
                """Keep the output of the tests free of it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.bare = "<!doctype html>" + "\n".join(self.fill(LOADING))

    def fill(self, pieces: tuple[str, ...]) -> list[str]:
        """Return the pieces with the addresses of this server in them."""
        return [piece.format(trap=f"http://{self.host}", host=self.host) for piece in pieces]

    def note(self, path: str) -> None:
        """Keep a path that was asked for."""
        with self._changed:
            self._asked.append(path)
            self._changed.notify_all()

    @property
    def asked(self) -> set[str]:
        """Return the names that were asked for."""
        with self._changed:
            return {path.lstrip("/") for path in self._asked}

    def wait_for(self, names: set[str]) -> bool:
        """Wait until each of these names was asked for; False when time ran out."""
        with self._changed:
            return self._changed.wait_for(
                lambda: names <= {path.lstrip("/") for path in self._asked}, TRAPPED_WITHIN_SECONDS
            )


@pytest.fixture
def trap() -> Iterator[Trap]:
    """Start the attacker's server on loopback."""
    made = Trap()
    thread = threading.Thread(target=made.server.serve_forever, name="trap", daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


def hostile_mail(trap: Trap, mark: str, *, booking: bool) -> bytes:
    """Return a mail with every trick in its body, and with markup in its headers, its names and its attachment."""
    evil = f"<img src=http://{trap.host}/header onerror=alert(4)>"
    statement = {
        "@context": "http://schema.org",
        "@type": "FoodEstablishmentReservation",
        "reservationNumber": f"H-{mark}",
        "reservationStatus": "http://schema.org/ReservationConfirmed",
        "underName": {"@type": "Person", "name": f"{mark} {evil}"},
        "partySize": 2,
        "startTime": (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0).isoformat(),
        "reservationFor": {"@type": "FoodEstablishment", "name": evil},
        "url": "javascript:alert(5)",
    }
    said = f'<script type="application/ld+json">{json.dumps(statement).replace("<", chr(92) + "u003c")}</script>'
    html = f"<html><head>{said if booking else ''}</head><body background=http://{trap.host}/body-background "
    html += f"onload=alert(6)><p>begin-{mark}</p>" + "\n".join(trap.fill(ACTING + LOADING)) + f"<p>end-{mark}</p>"
    plain = f"begin-{mark} {evil} </div><script>alert(7)</script> http://{trap.host}/in-text javascript:alert(8)"
    parts = (
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{plain}",
        f"Content-Type: text/html; charset=utf-8\r\n\r\n{html}",
        f'Content-Type: text/html; name="{evil}.html"\r\n'
        f'Content-Disposition: attachment; filename="{evil}.html"\r\n\r\n<script>alert(9)</script>',
        "Content-Type: image/svg+xml\r\nContent-ID: <logo@seats>\r\n\r\n"
        '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(10)</script></svg>',
    )
    head = (
        f'From: "{evil}" <noreply@seats.example>\r\nTo: shop@in.todoku.example\r\nSubject: {mark} {evil}\r\n'
        f"Message-ID: <{mark}@seats.example>\r\nDate: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} +0000\r\n"
        f"X-Evil: {evil}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut\r\n\r\n"
    )
    return (head + "".join(f"--cut\r\n{part}\r\n" for part in parts) + "--cut--\r\n").encode()


class Watch:
    """Everything that a window did beyond showing pages of the site."""

    def __init__(self, page: Page, site: LiveSite) -> None:
        self.page = page
        self.abroad: list[str] = []
        self.dialogs: list[str] = []
        self.windows: list[str] = []
        own = urlsplit(site.base_url).netloc

        def look(request: Request) -> None:
            if urlsplit(request.url).netloc != own and not request.url.startswith("data:image/"):
                self.abroad.append(request.url)

        def refuse(dialog: Dialog) -> None:
            self.dialogs.append(dialog.message)
            dialog.dismiss()

        page.context.on("request", look)  # also of what the browser stops before it leaves
        page.context.on("page", lambda opened: self.windows.append(opened.url))
        page.on("dialog", refuse)

    def is_quiet(self, address: str) -> None:
        """Require that the page stands where it was opened and that nothing else happened."""
        self.page.wait_for_load_state("networkidle")
        assert self.page.url == address, "the page's own document navigated"
        assert (self.abroad, self.dialogs, self.windows) == ([], [], [])


def find_mail(visitor: Visitor, mark: str) -> str:
    """Return the path of the mail with this mark in its subject, once it was read."""
    for _ in range(40):
        page = visitor.go("/mails")
        found = page.locator("a.line", has_text=mark)
        if found.count():
            return str(found.first.get_attribute("href"))
    raise AssertionError("the mail is not on the list")


def test_the_tricks_work_in_a_page_that_is_not_cleaned(trap: Trap, chromium: Browser) -> None:
    """Prove that the trap hears: without it, the silence below would say nothing."""
    context = chromium.new_context()
    page = context.new_page()
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(f"http://{trap.host}/bare", wait_until="commit")
    try:
        page.wait_for_load_state("networkidle")
        assert trap.wait_for(MUST_WORK_UNCLEANED), f"not heard: {sorted(MUST_WORK_UNCLEANED - trap.asked)}"
        assert dialogs == ["run"]
    finally:
        context.close()


@pytest.mark.parametrize("booking", [False, True], ids=["no-booking", "booking"])
def test_a_hostile_mail_loads_nothing_and_runs_nothing(
    booking: bool, trap: Trap, visit: Callable[..., Visitor], live_site: LiveSite
) -> None:
    mark = uuid.uuid4().hex[:8].upper()
    visitor = visit("en")
    page = visitor.sign_in()
    live_site.mail_in(hostile_mail(trap, mark, booking=booking))
    path = find_mail(visitor, mark)
    watch = Watch(page, live_site)

    visitor.go(path)
    page.locator("details.more").evaluate_all("all => all.forEach(one => one.open = true)")
    frame = page.frame_locator("iframe.frame")
    page.locator("iframe.frame").scroll_into_view_if_needed()
    expect(frame.get_by_text(f"end-{mark}")).to_be_attached()
    scroll_and_click(visitor, mark)
    watch.is_quiet(live_site.base_url + path)
    expect(page.locator("iframe.frame")).to_have_attribute("sandbox", "")
    assert [one.url for one in page.frames[1:]] == [f"{live_site.base_url}{path}/html"], "the frame stayed too"

    answer = page.goto(f"{live_site.base_url}{path}/html")
    assert answer is not None
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    expect(page.get_by_text(f"end-{mark}")).to_be_attached()
    assert page.locator(DANGEROUS).count() == 0, "what the policy would have to stop is not there at all"
    assert trap.host not in page.content()
    scroll_and_click(visitor, mark)
    watch.is_quiet(f"{live_site.base_url}{path}/html")

    raw = visitor.go(f"{path}/raw")
    assert raw.locator("script, img, iframe").count() == 0, "bytes are text, also in the eyes of a browser that sniffs"
    watch.is_quiet(f"{live_site.base_url}{path}/raw")

    if booking:
        visitor.go(f"/book?q=H-{mark}").locator("a.line").first.click()
        page.wait_for_selector("article[data-open]")
        expect(page.locator("article[data-open] h1")).to_contain_text(mark)
        page.locator("details.more").evaluate_all("all => all.forEach(one => one.open = true)")
        assert page.locator("a[href^='javascript:']").count() == 0
        watch.is_quiet(page.url)

    assert trap.asked == set()


DANGEROUS = (
    "script, link, base, iframe, object, embed, form, input, button, video, audio, svg, math, a[href], area, source,"
    " [srcset], [background], [ping], [http-equiv=refresh], img:not([src^='data:image/']):is([src])"
)


def scroll_and_click(visitor: Visitor, mark: str) -> None:
    """Scroll through the mail and click what it meant to be clicked.

    The cleaning takes the target from each link, so these are words: a click opens nothing, and there is no referrer
    and no opener that could be handed over.
    """
    page = visitor.page
    page.wait_for_load_state("networkidle")
    assert visitor.complaints == [], "nothing was left that only the sandbox or the policy had to stop"
    for frame in page.frames[1:] or page.frames:
        assert frame.locator("a[href]").count() == 0, "a link of a mail has no target"
        frame.get_by_text(f"end-{mark}").scroll_into_view_if_needed()
        for word in ("plain", "blank", "top", "run", "data", "clobber"):
            frame.get_by_text(word, exact=True).first.click()
        frame.get_by_text(f"begin-{mark}").scroll_into_view_if_needed()
    # Playwright's own timers are scripts too, and the sandbox stops them; the mail was quiet until Playwright clicked.
    visitor.complaints[:] = [one for one in visitor.complaints if not one.startswith("Blocked script execution in")]
