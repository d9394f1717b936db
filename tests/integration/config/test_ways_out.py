"""Settings become transports and a signing desk, or a sentence that names the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from todoku.config.settings import Settings, load_settings
from todoku.config.ways_out import open_ways_out
from todoku.delivery.signing import KeyFolder
from todoku.delivery.transports.conformance import WatchingSink, envelopes_for
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.types import AnswerKind
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.kernel.errors import ConfigurationError
from todoku.mail.dkim import KeyKind, new_key


def settings(home: Path, **changes: str) -> Settings:
    return load_settings({"TODOKU_HOME": str(home), **changes})


async def test_each_name_leads_to_its_own_relay(tmp_path: Path) -> None:
    usual, bulk = ScriptedRelay(), ScriptedRelay()
    wish = settings(
        tmp_path,
        TODOKU_RELAY_URL=await usual.start(),
        TODOKU_TRANSPORTS=f"bulk=smtp://127.0.0.1:9,{await bulk.start()} rehearsal=null:",
    )
    ways = open_ways_out(wish, SystemClock())
    try:
        assert set(ways.transports) == {"", "bulk", "rehearsal"}
        for transport in ways.transports.values():
            answers = await transport.send(envelopes_for(["accept"] * 2), WatchingSink())
            assert [answer.kind for answer in answers] == [AnswerKind.ACCEPTED] * 2
        assert (len(usual.taken), len(bulk.taken)) == (2, 2)
    finally:
        await ways.close()
        await usual.stop()
        await bulk.stop()


async def test_nothing_set_opens_nothing(tmp_path: Path, clock: VirtualClock) -> None:
    ways = open_ways_out(settings(tmp_path), clock)
    assert ways.transports == {}
    assert ways.desk.signer_of("shop@todoku.example") is None
    await ways.close()


async def test_keys_of_the_home_sign(tmp_path: Path, clock: VirtualClock) -> None:
    path = KeyFolder(tmp_path / "dkim", clock).add(new_key("todoku.example", "e1", KeyKind.ED25519), in_use=True)
    ways = open_ways_out(settings(tmp_path), clock)
    signer = ways.desk.signer_of("shop@todoku.example")
    assert signer is not None
    (signed,) = await signer.sign([b"From: shop@todoku.example\r\n\r\nhello\r\n"])
    assert b" d=todoku.example;" in signed
    await ways.close()
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        open_ways_out(settings(tmp_path), clock)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TODOKU_RELAY_URL", "relay.example", "TODOKU_RELAY_URL"),
        ("TODOKU_TRANSPORTS", "bulk=imap://user:hunter2@relay.example", "TODOKU_TRANSPORTS bulk"),
        ("TODOKU_TRANSPORTS", "bulk", "TODOKU_TRANSPORTS, entry 1"),
    ],
)
def test_a_wrong_url_names_its_setting_and_no_secret(
    tmp_path: Path, clock: VirtualClock, name: str, value: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as refusal:
        open_ways_out(settings(tmp_path, **{name: value}), clock)
    assert "hunter2" not in str(refusal.value)
