"""Settings are read once, and an odd value is refused with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from todoku.config.settings import Listen, load_settings
from todoku.kernel.errors import ConfigurationError


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings.web_listen == Listen("127.0.0.1", 8090)
    assert settings.smtp_listen == Listen("127.0.0.1", 8025)
    assert settings.lmtp_listen is None
    assert settings.public_url == "http://127.0.0.1:8090"
    assert not settings.served_over_https
    assert not settings.demo


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TODOKU_WEB_LISTEN", "8090"),
        ("TODOKU_WEB_LISTEN", ":8090"),
        ("TODOKU_SMTP_LISTEN", "localhost:smtp"),
        ("TODOKU_LMTP_LISTEN", "localhost:65536"),
        ("TODOKU_DEMO", "yes"),
        ("TODOKU_MESSAGE_MAX_OCTETS", "10MB"),
        ("TODOKU_MESSAGE_MAX_OCTETS", "999"),
        ("TODOKU_SMTP_CERTIFICATE", "credential:"),
        ("TODOKU_SMTP_CERTIFICATE", "credential:../mx"),
        ("TODOKU_SMTP_TRUSTED", "mail.example"),
        ("TODOKU_SMTP_TRUSTED", "192.0.2.1/24"),
        ("TODOKU_LEDGER_MONTHS", "2"),
        ("TODOKU_LEDGER_MONTHS", "a year"),
    ],
)
def test_an_odd_value_is_refused_with_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load_settings({name: value})


def test_a_child_process_gets_the_same_settings() -> None:
    given = {
        "TODOKU_HOME": "/srv/todoku",
        "TODOKU_LMTP_LISTEN": "127.0.0.1:8024",
        "TODOKU_PUBLIC_URL": "https://mail.example.com/",
        "TODOKU_ALLOWED_HOSTS": "a.example, b.example",
        "TODOKU_DEMO": "1",
        "TODOKU_MAIL_DOMAIN": "IN.Example.com",
        "TODOKU_RELAY_URL": "smtp://a.example,smtp://b.example",
        "TODOKU_TRANSPORTS": "bulk=smtp://c.example",
        "TODOKU_MESSAGE_MAX_OCTETS": "2000000",
        "TODOKU_LEDGER_MONTHS": "0",
        "TODOKU_SMTP_TRUSTED": "192.0.2.0/24, 2001:db8::/64 198.51.100.7",
    }
    settings = load_settings(given)
    assert load_settings(settings.environment()) == settings
    assert settings.mail_domain == "in.example.com"
    assert [str(one) for one in settings.smtp_trusted] == ["192.0.2.0/24", "2001:db8::/64", "198.51.100.7/32"]
    assert settings.served_over_https
    assert {"mail.example.com", "a.example", "b.example"} <= set(settings.allowed_hosts)


def test_the_database_url_is_taken_apart() -> None:
    url = "postgresql://me:s%40cret@db.example:6432/books?sslmode=require"
    database = load_settings({"TODOKU_DATABASE_URL": url}).django_database()
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example", "6432", "books")
    assert (database["USER"], database["PASSWORD"]) == ("me", "s@cret")
    assert database["OPTIONS"]["sslmode"] == "require"
    assert database["OPTIONS"]["tcp_user_timeout"] == "30000"  # a wire that died without a word is noticed
    with pytest.raises(ConfigurationError, match="postgresql"):
        load_settings({"TODOKU_DATABASE_URL": "mysql://x/y"}).django_database()


def test_the_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    settings = load_settings({"TODOKU_HOME": str(tmp_path)})
    assert settings.secret_key() == settings.secret_key()
    assert len(settings.secret_key()) >= 50
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_paces_are_read_and_handed_on() -> None:
    settings = load_settings({"TODOKU_DOMAIN_PACES": "Docomo.example=20 slow.example=0.5"})
    assert settings.domain_paces == {"docomo.example": 20.0, "slow.example": 0.5}
    assert load_settings(settings.environment()).domain_paces == settings.domain_paces


@pytest.mark.parametrize("text", ["docomo.example", "docomo.example=", "=3", "a=0", "a=-1", "a=nan", "a=many"])
def test_paces_that_make_no_sense_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="TODOKU_DOMAIN_PACES"):
        load_settings({"TODOKU_DOMAIN_PACES": text})


def test_the_door_may_show_a_certificate_of_the_inventory() -> None:
    settings = load_settings({"TODOKU_SMTP_CERTIFICATE": "credential:mx"})
    assert settings.smtp_credential == "mx"
    assert load_settings(settings.environment()) == settings
    assert load_settings({}).smtp_credential == ""
    with pytest.raises(ConfigurationError, match="TODOKU_SMTP_CERTIFICATE_KEY"):
        load_settings({"TODOKU_SMTP_CERTIFICATE": "credential:mx", "TODOKU_SMTP_CERTIFICATE_KEY": "/x.key"})
