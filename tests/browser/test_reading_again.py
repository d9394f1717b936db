"""An operator reads all mails again: the page follows by itself, and nothing that is right changes."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect
from tests.browser.conftest import LiveSite, Visitor

DONE_WITHIN_MS = 30_000


def test_a_dry_run_ends_on_the_page_without_a_reload(visit: Callable[..., Visitor], live_site: LiveSite) -> None:
    before = live_site.todoku("replay", "-p", live_site.project)
    assert before["differing"] == before["unread"] == 0
    visitor = visit("en")
    page = visitor.sign_in(role="operator", to="/mails")
    page.get_by_role("link", name="Read again").click()
    page.get_by_role("button", name="See what would change").click()
    expect(page.get_by_text("Nothing reads differently today.")).to_be_visible(timeout=DONE_WITHIN_MS)
    expect(page.locator(".equation b").first).to_have_text(f"{before['read']:,}")
    page.get_by_role("link", name="Read mails again").click()
    expect(page.locator("ul.lines a.line").first).to_contain_text("0 would change")
    assert visitor.complaints == []


def test_who_may_not_operate_is_not_led_there(visit: Callable[..., Visitor]) -> None:
    page = visit("en").sign_in(role="manager", to="/mails")
    expect(page.get_by_role("link", name="Read again")).to_have_count(0)
