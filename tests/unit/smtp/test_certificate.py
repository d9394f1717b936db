"""The certificate of the door: what is taken, what is not, and what is told about it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.integration.smtp.certificates import CertificateFiles

from todoku.config.settings import load_settings
from todoku.kernel.clock import VirtualClock
from todoku.kernel.errors import ConfigurationError
from todoku.sources.smtp.certificate import CHECK_SECONDS, ServedCertificate


@pytest.fixture
def files(tmp_path: Path, clock: VirtualClock) -> CertificateFiles:
    return CertificateFiles(tmp_path, clock.now_utc())


@pytest.fixture
def served(files: CertificateFiles, clock: VirtualClock) -> ServedCertificate:
    return ServedCertificate(files.certificate, files.key, clock)


def test_the_facts_are_those_of_the_file(files: CertificateFiles, served: ServedCertificate) -> None:
    made = files.renew("in.todoku.example", "mx.todoku.example")
    assert served.context() is not None
    facts = served.facts()
    assert facts is not None
    assert facts.names == ("in.todoku.example", "mx.todoku.example", "127.0.0.1")
    assert (facts.not_before_utc, facts.not_after_utc) == (made.not_valid_before_utc, made.not_valid_after_utc)
    assert facts.not_after_utc.tzinfo is not None
    assert len(facts.fingerprint) == 64
    assert facts.issuer == "CN=in.todoku.example"


def test_a_certificate_without_alternative_names_has_its_common_name(
    files: CertificateFiles, served: ServedCertificate
) -> None:
    files.renew("old.todoku.example", alternative=False)
    served.check()
    facts = served.facts()
    assert facts is not None
    assert facts.names == ("old.todoku.example",)


def test_a_renewed_file_is_taken_at_the_next_check_and_not_before(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock
) -> None:
    files.renew("one.example")
    first = served.context()
    files.renew("two.example")
    clock.advance(CHECK_SECONDS - 1)
    assert served.context() is first
    clock.advance(1)
    assert served.context() is not first
    facts = served.facts()
    assert facts is not None
    assert facts.names[0] == "two.example"


def test_unchanged_files_are_not_read_again(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock
) -> None:
    files.renew("one.example")
    first = served.context()
    clock.advance(CHECK_SECONDS)
    assert served.context() is first


def _break(files: CertificateFiles, how: str) -> None:
    if how == "rubbish":
        files.write(files.certificate, b"no certificate")
    elif how == "empty":
        files.write(files.certificate, b"")
    elif how == "rubbish_key":
        files.write(files.key, b"no key")
    elif how == "other_key":
        files.renew("new.example", only_certificate=True)
    elif how == "expired":
        files.renew("new.example", days=-0.5)
    elif how == "not_yet":
        files.renew("new.example", from_days=1)
    elif how == "locked_key":
        files.renew("new.example", password=b"0pen-sesame")
    elif how == "gone":
        files.key.unlink()
    elif how == "pipe":
        files.certificate.unlink()
        os.mkfifo(files.certificate)
    else:
        files.certificate.unlink()
        files.certificate.mkdir()


BROKEN = [
    "rubbish",
    "empty",
    "rubbish_key",
    "other_key",
    "expired",
    "not_yet",
    "locked_key",
    "gone",
    "pipe",
    "folder",
]


@pytest.mark.parametrize("how", BROKEN)
def test_what_cannot_be_used_leaves_the_old_one_in_use_and_is_said_once(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock, how: str
) -> None:
    files.renew("old.example")
    old = served.context()
    _break(files, how)
    with capture_logs() as logs:
        for _ in range(3):
            clock.advance(CHECK_SECONDS)
            assert served.context() is old
    (complaint,) = [entry for entry in logs if entry["event"] == "smtp.certificate_not_reloaded"]
    assert "without a restart" in complaint["todo"]
    assert complaint["in_use_until_utc"] is not None
    assert "0pen-sesame" not in str(complaint)
    if how in {"pipe", "folder"}:
        (files.certificate.rmdir if how == "folder" else files.certificate.unlink)()
    files.renew("mended.example")
    clock.advance(CHECK_SECONDS)
    assert served.context() is not old


def test_one_that_is_not_valid_yet_is_taken_when_it_is(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock
) -> None:
    files.renew("old.example")
    old = served.context()
    files.renew("next.example", from_days=1)
    clock.advance(CHECK_SECONDS)
    assert served.context() is old
    clock.advance(timedelta(days=1).total_seconds())
    assert served.context() is not old


def test_the_two_files_of_a_renewal_may_come_one_after_the_other(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock, tmp_path: Path
) -> None:
    files.renew("old.example")
    old = served.context()
    (tmp_path / "next").mkdir()
    fresh = CertificateFiles(tmp_path / "next", clock.now_utc())
    fresh.renew("next.example")
    files.write(files.certificate, fresh.certificate.read_bytes())
    clock.advance(CHECK_SECONDS)
    assert served.context() is old
    files.write(files.key, fresh.key.read_bytes())
    clock.advance(CHECK_SECONDS)
    assert served.context() is not old


@pytest.mark.parametrize("how", [how for how in BROKEN if how not in {"expired", "not_yet"}])
def test_a_door_without_a_certificate_offers_none_until_there_is_one(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock, how: str
) -> None:
    files.renew("first.example")
    _break(files, how)
    assert served.context() is None
    assert served.facts() is None
    if how in {"pipe", "folder"}:
        (files.certificate.rmdir if how == "folder" else files.certificate.unlink)()
    files.renew("mended.example")
    clock.advance(CHECK_SECONDS)
    assert served.context() is not None


def test_an_expired_one_is_shown_when_there_is_no_other(files: CertificateFiles, served: ServedCertificate) -> None:
    files.renew("late.example", days=-0.5)
    with capture_logs() as logs:
        assert served.context() is not None
    assert "smtp.certificate_not_valid" in [entry["event"] for entry in logs]


@pytest.mark.parametrize("name", ["TODOKU_SMTP_CERTIFICATE", "TODOKU_SMTP_CERTIFICATE_KEY"])
def test_one_path_alone_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(ConfigurationError, match="TODOKU_SMTP_CERTIFICATE"):
        load_settings({name: "/etc/todoku/door.pem"})


def test_both_paths_reach_a_child_process() -> None:
    given = {"TODOKU_SMTP_CERTIFICATE": "/etc/todoku/a.pem", "TODOKU_SMTP_CERTIFICATE_KEY": "/etc/todoku/a.key"}
    settings = load_settings(given)
    assert (settings.smtp_certificate, settings.smtp_certificate_key) == tuple(given.values())
    assert load_settings(settings.environment()) == settings


def test_the_standing_tells_of_use_and_of_trouble(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock
) -> None:
    served.check()
    assert served.standing().facts is None
    assert "No such file" in served.standing().trouble
    assert served.standing().trouble_at_utc == clock.now_utc()
    files.renew("one.example")
    served.check_at_once()
    assert (served.standing().trouble, served.standing().trouble_at_utc) == ("", None)
    assert served.standing().used_at_utc is None
    served.used()
    used_at_utc = clock.now_utc()
    clock.advance(CHECK_SECONDS)
    files.write(files.certificate, b"rubbish")
    served.check()
    standing = served.standing()
    assert standing.facts is not None
    assert (standing.used_at_utc, standing.trouble_at_utc) == (used_at_utc, clock.now_utc())
    files.renew("two.example")
    served.check_at_once()
    assert served.standing().used_at_utc is None, "the new one was not used yet"
    assert served.standing().trouble == ""


def test_files_that_were_away_for_a_while_leave_no_trouble_behind(
    files: CertificateFiles, served: ServedCertificate, clock: VirtualClock, tmp_path: Path
) -> None:
    files.renew("one.example")
    served.check()
    files.certificate.rename(tmp_path / "away")
    served.check_at_once()
    assert "No such file" in served.standing().trouble
    (tmp_path / "away").rename(files.certificate)
    served.check_at_once()
    assert served.standing().trouble == ""
