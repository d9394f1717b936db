"""What a shop manager does on a busy evening, in both languages, with the real program."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import LiveSite, Visitor

VISIBLE_WITHIN_MS = 20_000
CLOSED_WITHIN_MS = 60_000


def booking_mail(name: str, reference: str) -> bytes:
    """Return a mail that states one reservation as schema.org data, with characters that other readers lose."""
    start = (datetime.now(UTC) + timedelta(days=4)).replace(microsecond=0)
    statement = {
        "@context": "http://schema.org",
        "@type": "FoodEstablishmentReservation",
        "reservationNumber": reference,
        "reservationStatus": "http://schema.org/ReservationConfirmed",
        "underName": {"@type": "Person", "name": name, "email": f"{reference.lower()}@example.com"},
        "partySize": 4,
        "startTime": start.isoformat(),
        "reservationFor": {"@type": "FoodEstablishment", "name": "Todokuya Ginza"},
    }
    body = (
        f"<html><body><p>{name} ①㈱髙﨑 {reference}</p>"
        f'<script type="application/ld+json">{json.dumps(statement, ensure_ascii=False)}</script></body></html>'
    )
    return (
        f"From: Seats <noreply@seats.example>\r\nTo: shop@in.todoku.example\r\nSubject: Reservation {reference}\r\n"
        f"Message-ID: <{reference}@seats.example>\r\nDate: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} +0000\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
    ).encode()


@pytest.fixture
def guest() -> tuple[str, str]:
    """Return a name and a reference that no other test uses."""
    mark = uuid.uuid4().hex[:8].upper()
    return f"髙﨑 {mark}", f"BR-{mark}"


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_mail_appears_on_online_without_reload(
    language: str, visit: Callable[..., Visitor], live_site: LiveSite, guest: tuple[str, str]
) -> None:
    name, reference = guest
    page = visit(language).sign_in(to="/online")
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.locator(".lamp:not(.away)")).to_be_visible(timeout=30_000)

    live_site.mail_in(booking_mail(name, reference))

    slip = page.locator(".slip", has_text=name)
    expect(slip).to_be_visible(timeout=VISIBLE_WITHIN_MS)
    expect(slip).to_have_class(re.compile("arrived"))
    expect(page.locator("#announce")).to_contain_text(name)

    slip.locator("a").click()
    pane = page.locator("#pane")
    expect(pane.locator(".facts")).to_contain_text(name)
    expect(pane.locator(".facts")).to_contain_text(reference)
    expect(pane.locator(".letter")).to_contain_text(f"{name} ①㈱髙﨑 {reference}")

    pane.locator("form.handle button").click()
    expect(slip.locator(".done")).to_be_visible(timeout=VISIBLE_WITHIN_MS)


def test_what_one_tablet_handles_the_other_sees(
    visit: Callable[..., Visitor], live_site: LiveSite, guest: tuple[str, str]
) -> None:
    name, reference = guest
    first = visit("ja", size="tablet").sign_in("manager", to="/online")
    second = visit("en", size="tablet").sign_in("operator", to="/online")
    for page in (first, second):
        expect(page.locator(".lamp:not(.away)")).to_be_visible(timeout=30_000)
    live_site.mail_in(booking_mail(name, reference))
    for page in (first, second):
        expect(page.locator(".slip.new", has_text=name)).to_be_visible(timeout=VISIBLE_WITHIN_MS)

    first.locator(".slip", has_text=name).locator("form.handle button").click()

    expect(second.locator(".slip", has_text=name).locator(".done")).to_be_visible(timeout=VISIBLE_WITHIN_MS)


def test_the_keyboard_is_enough(visit: Callable[..., Visitor], live_site: LiveSite, guest: tuple[str, str]) -> None:
    name, reference = guest
    page = visit("ja").sign_in(to="/online")
    expect(page.locator(".lamp:not(.away)")).to_be_visible(timeout=30_000)
    live_site.mail_in(booking_mail(name, reference))
    slip = page.locator(".slip", has_text=name)
    expect(slip).to_be_visible(timeout=VISIBLE_WITHIN_MS)

    page.keyboard.press("j")
    expect(slip.locator("a")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#pane .facts")).to_contain_text(reference)
    slip.locator("a").focus()
    page.keyboard.press("h")
    expect(slip.locator(".done")).to_be_visible(timeout=VISIBLE_WITHIN_MS)


def test_a_form_works_without_scripts(
    visit: Callable[..., Visitor], live_site: LiveSite, guest: tuple[str, str]
) -> None:
    name, reference = guest
    live_site.mail_in(booking_mail(name, reference))
    visitor = visit("en", scripts=False)
    visitor.sign_in()
    page = visitor.page
    for _ in range(20):
        visitor.go(f"/book?q={reference}")
        if page.locator("a.line").count():
            break
    page.locator("a.line").first.click()
    page.click("form.handle button")
    expect(page.locator("main")).to_contain_text("Handled:")


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_campaign_is_sent_and_its_balance_closes(language: str, visit: Callable[..., Visitor]) -> None:
    visitor = visit(language)
    page = visitor.sign_in("marketer", to="/campaigns")
    page.locator("a.line").last.click()
    page.locator("button[formaction$='/duplicate']").click()
    page.fill("#name", f"browser {language} {uuid.uuid4().hex[:6]}")
    page.locator("#editor button.main").click()
    page.locator("a.b.main[href$='/send']").click()
    asked = int(_digits(page.locator(".big").inner_text()))
    expect(page.locator("h1")).to_contain_text(str(asked))
    expect(page.locator("#send-now")).to_contain_text(str(asked))
    page.click("#send-now")

    expect(page.locator("#progress .postmark:not(.look):not(.bad)")).to_be_visible(timeout=CLOSED_WITHIN_MS)

    numbers = _balance(page)
    assert numbers["pending"] == 0
    assert numbers["sent"] == asked, "what the confirmation said is what was sent"
    planned = int(_digits(page.locator("#planned").inner_text()))
    assert planned == sum(numbers.values()), "planned is the sum of the states"

    page.locator("#n-suppressed").click()
    expect(page.locator("ul.lines > li")).to_have_count(min(numbers["suppressed"], 100))
    visitor.go("/demo/outbox")
    page.locator("a.line").first.click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("body")).to_contain_text("とどけレストラングループ")


def _balance(page: Page) -> dict[str, int]:
    cells = page.locator(".equation [id^='n-']")
    return {
        (cell.get_attribute("id") or "").removeprefix("n-"): int(_digits(cell.locator("b").inner_text()))
        for cell in cells.all()
    }


def _digits(text: str) -> str:
    return "".join(re.findall(r"\d", text))
