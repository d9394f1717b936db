"""axe-core finds nothing serious on any page, light and dark; nothing is wider than a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from tests.browser.conftest import LiveSite, Visitor

PAGES = (
    "/", "/online", "/book?q=@", "/mails", "/guests", "/campaigns", "/campaigns/new", "/campaigns/away",
    "/sources", "/sources/new?kind=imap", "/credentials", "/credentials/new?kind=password", "/campaigns/calendar",
    "/campaigns/calendar?view=week", "/demo/outbox", "/mails/again", "/book/tables", "/book/tables?view=week",
)  # fmt: skip
# a page, and the link on it that leads to the page to be tried
FIRST_LINKS = (
    ("/online", ".slip > a"),
    ("/mails", "ul.lines a.line"),
    ("/guests", "ul.lines a.line"),
    ("/campaigns", "ul.lines li:last-child a.line"),
    ("/demo/outbox", "ul.lines a.line"),
)
_PREPARED: dict[str, list[str]] = {}


def _serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0].get('failureSummary', '')[:300]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


def _urls(visitor: Visitor) -> list[str]:
    urls = list(PAGES)
    for path, link in FIRST_LINKS:
        found = visitor.go(path).locator(link)
        href = found.first.get_attribute("href") if found.count() else None
        if href:
            urls.append(href)
            if href.startswith("/campaigns/"):
                urls += [f"{href}?show=campaign", f"{href}/send"]
    return urls + [url for url in _prepared(visitor.site) if url not in urls]


def _prepared(site: LiveSite) -> list[str]:
    """Return pages of a run that waits for a person and of a repeating campaign, made once a site."""
    if site.base_url not in _PREPARED:
        run = site.make_runs({"a held one": "state = 'held', resume_to = 'planned', reason_ja = '多すぎます'"})[
            "a held one"
        ]
        weekly = site.todoku("campaign", "create", "-p", site.project, "--name", "a repeating one")["id"]
        repeating = site.todoku("campaign", "schedule", weekly, "-p", site.project, "--repeat", "weekly mon,thu 10:30")
        _PREPARED[site.base_url] = [
            f"/runs/{run}", f"/runs/{repeating['run']['id']}", f"/campaigns/{weekly}/reschedule",
        ]  # fmt: skip
    return _PREPARED[site.base_url]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["ja", "en"])
def test_nothing_serious_on_any_page(
    theme: str, language: str, visit: Callable[..., Visitor], live_site: LiveSite
) -> None:
    visitor = visit(language, theme)
    found = _serious(visitor.go("/sign-in"))
    visitor.sign_in("owner")
    urls = _urls(visitor)
    assert len(urls) >= len(PAGES) + 4
    for url in urls:
        found += _serious(visitor.go(url))
    assert found == []


def test_the_second_pane_is_as_good_as_a_page(visit: Callable[..., Visitor]) -> None:
    page = visit("ja").sign_in("owner", to="/online")
    page.locator(".slip > a").first.click()
    page.wait_for_selector("#pane [data-open]")
    assert _serious(page) == []


@pytest.mark.parametrize("size", ["phone", "tablet"])
def test_nothing_is_wider_than_the_screen(size: str, visit: Callable[..., Visitor]) -> None:
    visitor = visit("en", "dark", size)
    visitor.sign_in("owner")
    too_wide = [
        url
        for url in _urls(visitor)
        if visitor.go(url).evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    ]
    assert too_wide == []


def test_touch_targets_are_large_enough(visit: Callable[..., Visitor]) -> None:
    visitor = visit("ja", size="phone")
    visitor.sign_in("owner")
    for url in ("/online", "/campaigns/new", "/campaigns", "/campaigns/away", *_prepared(visitor.site)):
        small = visitor.go(url).evaluate(
            """[...document.querySelectorAll("button, select, input:not([type=hidden], [type=checkbox]), nav a, .b")]
            .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 43.5)
            .map((one) => one.outerHTML.slice(0, 120))"""
        )
        assert small == []
