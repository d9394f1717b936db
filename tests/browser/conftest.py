"""The real program, started as a user starts it, and a real Chromium in front of it.

Both live as long as one module: Playwright keeps an event loop in the main thread, in which other tests can't work.
"""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

STAFF_DOMAIN = "todoke-restaurants.example"
SIZES = {
    "wide": {"width": 1280, "height": 860},
    "tablet": {"width": 820, "height": 1100},
    "phone": {"width": 390, "height": 844},
}


_MAKE_RUNS = """
import json, sys
from datetime import timedelta
from todoku.config.django_setup import set_up_django
set_up_django()
from django.db import connection
from todoku.campaigns import queries, services
from todoku.campaigns.types import CampaignContent
from todoku.content.starters import load_starter
from todoku.guests.types import Audience
from todoku.kernel.clock import SystemClock
clock, words, made = SystemClock(), load_starter("ja"), {}
project = sys.argv[1]
for name, changes in json.loads(sys.argv[2]).items():
    content = CampaignContent(words.subject, words.html, words.text)
    campaign = services.create(project, name=name, content=content, audience=Audience(), by="test", clock=clock)
    due = clock.now_utc() + timedelta(days=300)
    services.schedule(project, campaign, due_at_utc=due, by="test", clock=clock)
    made[name] = str(queries.get(project, campaign).run.id)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE campaigns_run SET {changes} WHERE id = %s", [made[name]])
        assert cursor.rowcount == 1
print(json.dumps(made))
"""


@dataclass(frozen=True, slots=True)
class LiveSite:
    """A running Todoku: where its pages and its SMTP door are, and who may come in."""

    base_url: str
    email: str
    password: str
    smtp_host: str
    smtp_port: int
    mail_domain: str
    home: Path
    project: str

    def mail_in(self, raw: bytes, local_part: str = "demo-ginza-schema-org") -> None:
        """Hand one mail to the SMTP door; on return it was answered with 250."""
        with smtplib.SMTP(self.smtp_host, self.smtp_port, timeout=10) as door:
            door.sendmail("noreply@seats.example", [f"{local_part}@{self.mail_domain}"], raw)

    def todoku(self, *arguments: str) -> Any:
        """Run a command of `todoku` in this home and return its JSON."""
        return json.loads(self._run("-m", "todoku.cli.main", *arguments, "--json"))

    def make_runs(self, changes_by_name: Mapping[str, str]) -> dict[str, str]:
        """Make campaigns whose run is in a state that takes hours to reach; SQL by name, ids of the runs by name."""
        return dict(json.loads(self._run("-c", _MAKE_RUNS, self.project, json.dumps(changes_by_name)).splitlines()[-1]))

    def _run(self, *arguments: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TODOKU_")}
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**kept, "TODOKU_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


@dataclass(slots=True)
class Visitor:
    """One browser window, and everything it complained about."""

    page: Page
    site: LiveSite
    complaints: list[str] = field(default_factory=list)

    def forgive_refused_forms(self) -> None:
        """Forget what the browser says about answers with 422: a form that came back with its errors."""
        self.complaints[:] = [one for one in self.complaints if "422" not in one]

    def go(self, path: str) -> Page:
        """Open a path of the site."""
        self.page.goto(self.site.base_url + path)
        return self.page

    def sign_in(self, role: str = "manager", to: str = "/") -> Page:
        """Sign in through the form."""
        page = self.go(f"/sign-in?next={to}")
        page.fill("#email", f"{role}@{STAFF_DOMAIN}")
        page.fill("#password", self.site.password)
        page.click("form[action='/sign-in'] button")
        page.wait_for_selector("#main h1")
        page.wait_for_load_state("load")  # a heading is there before the script that hears keys is
        return page


@pytest.fixture(scope="module")
def live_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    """Start `todoku demo` in a home of its own and wait until it says that it is ready."""
    home: Path = tmp_path_factory.mktemp("browser-home")
    for folder in (home, *home.parents[:2]):
        folder.chmod(0o755)  # the embedded PostgreSQL runs as another user when the tests run as root
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TODOKU_")}
    listen = {"TODOKU_WEB_LISTEN": "127.0.0.1:18090", "TODOKU_SMTP_LISTEN": "127.0.0.1:18025"}  # or the next free ones
    with subprocess.Popen(
        [sys.executable, "-m", "todoku.cli.main", "demo", "--json", "--no-evening"],
        env={**kept, **listen, "TODOKU_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            smtp = urlsplit(f"smtp://{said['smtp']}")
            yield LiveSite(
                base_url=said["url"],
                email=said["email"],
                password=said["password"],
                smtp_host=smtp.hostname or "127.0.0.1",
                smtp_port=smtp.port or 25,
                mail_domain=said["mail_domain"],
                home=Path(said["home"]),
                project=said["project"],
            )
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium, or the one Playwright brought."""
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        try:
            browser = playwright.chromium.launch(
                executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
        except Error as error:
            pytest.skip(f"no Chromium here (Debian: apt install chromium): {error}")
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def visit(chromium: Browser, live_site: LiveSite) -> Iterator[Callable[..., Visitor]]:
    """Return a function that opens a window; at the end no window may have complained.

    A complaint is an error on the console, a script error, or a violation of the content security policy.
    """
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def open_window(language: str = "ja", theme: str = "light", size: str = "wide", *, scripts: bool = True) -> Visitor:
        context = chromium.new_context(
            viewport=SIZES[size],  # type: ignore[arg-type]  # a dict of the right shape
            locale={"ja": "ja-JP", "en": "en-GB"}[language],
            timezone_id="Asia/Tokyo",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        context.add_cookies(
            [
                {"name": "theme", "value": theme, "url": live_site.base_url},
                {"name": "django_language", "value": language, "url": live_site.base_url},
            ]
        )
        page = context.new_page()
        visitor = Visitor(page, live_site)
        page.on("console", lambda said: visitor.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        contexts.append(context)
        visitors.append(visitor)
        return visitor

    yield open_window
    for context in contexts:
        context.close()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []
