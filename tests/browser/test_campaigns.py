"""What a marketer does with campaigns: plan a repeating one, watch a run leave, put right what went wrong."""

from __future__ import annotations

import csv
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import LiveSite, Visitor

pytestmark = pytest.mark.timeout(300)  # commands are processes of their own, beside a whole installation

TOKYO = ZoneInfo("Asia/Tokyo")
CLOSED_WITHIN_MS = 60_000
HELD = (
    "state = 'held', resume_to = 'planned', due_at = now() - interval '2 hours', "
    "reason = 'three times as many as usual', reason_ja = 'いつもの3倍です'"
)
MISSED = "state = 'missed', due_at = now() - interval '9 hours', closed_at = now(), reason_ja = '間に合いませんでした'"


def _draft(site: LiveSite, name: str) -> str:
    made = site.todoku("campaign", "create", "-p", site.project, "--name", name)
    return str(made["id"])


def _pick(page: Page, name: str, value: str) -> None:
    page.click(f"label:has([name='{name}'][value='{value}'])")


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_repeating_campaign_shows_its_next_starts_while_it_is_planned(
    language: str, visit: Callable[..., Visitor], live_site: LiveSite
) -> None:
    draft = _draft(live_site, f"weekly {uuid.uuid4().hex[:6]}")
    visitor = visit(language)
    page = visitor.sign_in("marketer", to=f"/campaigns/{draft}/send")
    expect(page.locator("#starts li")).to_have_count(1)

    _pick(page, "when", "repeat")
    _pick(page, "kind", "weekly")
    _pick(page, "weekdays", "0")
    _pick(page, "weekdays", "3")
    page.fill("#p-at", "10:30")
    expect(page.locator("#starts li")).to_have_count(5)
    expect(page.locator("#starts li").first).to_contain_text("10:30")

    _pick(page, "end", "count")
    page.fill("#p-count", "3")
    expect(page.locator("#starts li")).to_have_count(3)

    _pick(page, "kind", "cron")
    page.fill("#p-cron", "0 10 31 2 *")
    expect(page.locator("#e-cron")).not_to_be_empty()
    expect(page.locator("#starts li")).to_have_count(0)
    page.click("#later button.main")
    expect(page.locator("#e-cron")).not_to_be_empty()

    visitor.forgive_refused_forms()
    _pick(page, "kind", "weekly")
    expect(page.locator("#starts li")).to_have_count(3)
    page.click("#later button.main")
    expect(page).to_have_url(re.compile(r"/runs/"))

    visitor.go(f"/campaigns/{draft}/reschedule")
    expect(page.locator("#starts li")).to_have_count(3)
    page.fill("#p-at", "11:45")
    expect(page.locator("#starts li").first).to_contain_text("11:45")
    page.click("#later button.main")
    kept = live_site.todoku("campaign", "show", draft, "-p", live_site.project)
    assert kept["plan"]["repeat"]["at"] == "11:45"
    assert kept["state"] == "scheduled"
    live_site.todoku("campaign", "stop", draft, "-p", live_site.project, "--reason", "test is over")


def test_the_calendar_is_walked_by_keyboard(visit: Callable[..., Visitor], live_site: LiveSite) -> None:
    draft = _draft(live_site, f"daily {uuid.uuid4().hex[:6]}")
    live_site.todoku("campaign", "schedule", draft, "-p", live_site.project, "--repeat", "daily 23:59 times 40")
    page = visit("ja").sign_in("viewer", to="/campaigns/calendar")
    title = page.locator("h1").inner_text()
    page.keyboard.press("PageDown")
    expect(page.locator("h1")).not_to_have_text(title)
    page.wait_for_load_state("load")
    assert page.locator(".cal .entry").count() >= 5
    page.keyboard.press("ArrowRight")
    expect(page.locator(".cal .entry").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".cal .entry").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/(campaigns|runs)/[0-9a-f-]{36}"))
    live_site.todoku("campaign", "stop", draft, "-p", live_site.project, "--reason", "test is over")


def test_a_run_is_watched_with_its_forecast_and_its_names_are_taken_along(
    visit: Callable[..., Visitor], live_site: LiveSite, tmp_path: Path
) -> None:
    draft = _draft(live_site, f"watched {uuid.uuid4().hex[:6]}")
    visitor = visit("en")
    page = visitor.sign_in("marketer", to=f"/campaigns/{draft}/send")
    page.fill("#p-due", f"{datetime.now(TOKYO):%Y-%m-%dT%H:%M}")
    page.click("details.more summary")
    page.fill("#p-pace", "12")
    page.click("#later button.main")

    expect(page.locator("#forecast b")).to_contain_text(re.compile(r"\d\d:\d\d"), timeout=CLOSED_WITHIN_MS)
    expect(page.locator("#forecast")).to_contain_text("messages a second")
    expect(page.locator("#progress .postmark:not(.look):not(.bad)")).to_be_visible(timeout=CLOSED_WITHIN_MS)
    expect(page.locator(".story")).to_contain_text("Finished")
    sent = int("".join(re.findall(r"\d", page.locator("#n-sent b").inner_text())))

    page.reload()
    page.fill("#q", "member00")
    page.click("form[role=search] button")
    expect(page.locator("form[role=search] + ul.lines li").first).to_contain_text("member00")

    page.locator("#n-sent").click()
    with page.expect_download() as download:
        page.click("a[download]")
    file = tmp_path / "names.csv"
    download.value.save_as(file)
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(StringIO(file.read_text(encoding="utf-8-sig"), newline="")))
    assert rows[0][:3] == ["Mail address", "Result", "State"]
    assert len(rows) == sent + 1
    assert {row[2] for row in rows[1:]} == {"sent"}
    assert len({row[0] for row in rows[1:]}) == sent


def test_what_happened_while_away_is_put_right_alone_and_all_at_once(
    visit: Callable[..., Visitor], live_site: LiveSite
) -> None:
    mark = uuid.uuid4().hex[:6]
    wanted = {f"held {number} {mark}": HELD for number in range(3)} | {f"missed {mark}": MISSED}
    made = live_site.make_runs(wanted)
    missed = made[f"missed {mark}"]
    visitor = visit("ja")
    page = visitor.sign_in("manager")
    page.locator("a[href='/campaigns/away']").first.click()
    cases = page.locator(".case", has_text=mark)
    expect(cases).to_have_count(4)
    expect(page.locator(".case", has_text=f"held 0 {mark}")).to_contain_text("いつもの3倍です")

    page.locator(".case", has_text=f"held 0 {mark}").locator("button[value=skip]").click()
    expect(page.locator(".case", has_text=f"held 0 {mark}").locator("button[value=skip]")).to_have_count(0)
    page.locator(".case", has_text=f"missed {mark}").locator("button[value=send_now]").click()
    expect(page.locator(".case", has_text=f"missed {mark}").locator("button[value=send_now]")).to_have_count(0)
    page.locator("main > div > form button[value=skip], #list > form button[value=skip]").click()
    expect(page.locator(".case", has_text=mark).locator("button[value=skip]")).to_have_count(0)

    for number in (0, 2):
        held = made[f"held {number} {mark}"]
        assert live_site.todoku("campaign", "run", held, "-p", live_site.project)["state"] == "missed"
    visitor.go(f"/runs/{missed}")
    expect(page.locator("#progress .postmark:not(.look):not(.bad)")).to_be_visible(timeout=CLOSED_WITHIN_MS)


def test_a_test_message_reaches_the_typed_address_only(visit: Callable[..., Visitor], live_site: LiveSite) -> None:
    name = f"tested {uuid.uuid4().hex[:6]}"
    draft = _draft(live_site, name)
    visitor = visit("en")
    page = visitor.sign_in("marketer", to=f"/campaigns/{draft}")
    page.click("details.more summary")
    page.fill("#addresses", "not an address")
    page.click("details.more form button")
    expect(page.locator("#test-problem")).not_to_be_empty()
    visitor.forgive_refused_forms()
    page.fill("#addresses", "proof@example.com")
    page.click("details.more form button")
    expect(page.locator("#progress .postmark:not(.look):not(.bad)")).to_be_visible(timeout=CLOSED_WITHIN_MS)
    expect(page.locator("#n-sent b")).to_have_text("1")
    shown = live_site.todoku("campaign", "show", draft, "-p", live_site.project)
    assert shown["state"] == "draft", "a test leaves the campaign as it was"
