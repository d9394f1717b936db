from __future__ import annotations

import pytest

from todoku.delivery.transports.smtp.relay import AuthMechanism, TlsMode, read_relay_url
from todoku.kernel.errors import ConfigurationError


def test_everything_can_be_said() -> None:
    relay = read_relay_url(
        "smtp://shop%40todoku.example:p%2Fw@relay.example:587?tls=opportunistic&ca=/etc/ca.pem&connections=3&depth=2"
        "&chunking=off&auth=login&max_bytes=1000&ehlo=us.example"
    )
    assert (relay.host, relay.port, relay.name) == ("relay.example", 587, "relay.example:587")
    assert (relay.user, relay.secret) == ("shop@todoku.example", "p/w")
    assert (relay.tls, relay.ca_file, relay.auth) == (TlsMode.OPPORTUNISTIC, "/etc/ca.pem", AuthMechanism.LOGIN)
    assert (relay.connections, relay.depth, relay.chunking, relay.max_bytes) == (3, 2, False, 1000)
    assert relay.ehlo_name == "us.example"


@pytest.mark.parametrize(
    ("url", "tls", "port"),
    [
        ("smtp://localhost", TlsMode.OFF, 25),
        ("smtp://127.0.0.1:2525", TlsMode.OFF, 2525),
        ("smtp://[::1]:2525", TlsMode.OFF, 2525),
        ("smtp://relay.example", TlsMode.OPPORTUNISTIC, 25),
        ("smtp://u:p@relay.example:587", TlsMode.REQUIRED, 587),
        ("smtp://u:p@127.0.0.1", TlsMode.OFF, 25),
        ("smtp://relay.example?tls=off", TlsMode.OFF, 25),
        ("smtps://relay.example", TlsMode.IMPLICIT, 465),
    ],
)
def test_what_is_not_said_is_the_safe_way(url: str, tls: TlsMode, port: int) -> None:
    relay = read_relay_url(url)
    assert (relay.tls, relay.port) == (tls, port)


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example",
        "smtp://",
        "smtp://relay.example:port",
        "smtp://relay.example:99999",
        "smtp://relay.example/path",
        "smtp://user@relay.example",
        "smtp://relay.example?tls=maybe",
        "smtp://relay.example?tls=implicit",
        "smtps://relay.example?tls=off",
        "smtp://relay.example?depth=0",
        "smtp://relay.example?connections=-1",
        "smtp://relay.example?connections=1001",
        "smtp://relay.example?colour=red",
        "smtp://relay.example?chunking=always",
        "smtp://relay.example?auth_in_clear_unsafe=maybe",
        "smtp://relay.example?ehlo=two words",
    ],
)
def test_what_can_not_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        read_relay_url(url)


def test_the_secret_is_shown_nowhere() -> None:
    assert "hushhush" not in repr(read_relay_url("smtp://shop:hushhush@relay.example"))
    for url in ("ftp://shop:hushhush@relay.example", "smtp://shop:hushhush@relay.example?tls=maybe"):
        with pytest.raises(ConfigurationError) as caught:
            read_relay_url(url)
        assert "hushhush" not in str(caught.value)
