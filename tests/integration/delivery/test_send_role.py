"""The send role as an installation plays it: settings, keys and relays of one home, through the whole engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from tests.integration.delivery.delivery_world import CLOCK, seal_and_post, settled

import dkim
from todoku.bus.connection import Bus
from todoku.config.roles import Stage, send
from todoku.config.settings import load_settings
from todoku.delivery.signing import KeyFolder
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.mail.dkim import KeyKind, new_key
from todoku.vault import open_vault


async def test_runs_leave_signed_by_the_way_that_they_name(bus: Bus, tmp_path: Path) -> None:
    """The usual relay is away, so its run goes over the next one; the other run names its own; both are signed."""
    keys = KeyFolder(tmp_path / "dkim", CLOCK)
    records = {}
    for kind in KeyKind:
        key = new_key("todoku.example", kind.value, kind)
        keys.add(key, in_use=True)
        records[key.record_name] = key.record().encode()
    second, bulk = ScriptedRelay(), ScriptedRelay(chunking=True)
    settings = load_settings(
        {
            "TODOKU_HOME": str(tmp_path),
            "TODOKU_RELAY_URL": f"smtp://127.0.0.1:9,{await second.start()}",
            "TODOKU_TRANSPORTS": f"bulk={await bulk.start()}",
        }
    )
    vault = open_vault("", tmp_path / "vault")
    stop = asyncio.Event()
    role = asyncio.create_task(send(Stage(settings, CLOCK, bus, vault), stop))
    try:
        addresses = [f"accept.{number}@relay.example" for number in range(30)]
        usual = await seal_and_post(bus, [*addresses, "refuse-rcpt.1@relay.example"])
        other = await seal_and_post(bus, [f"accept.b{number}@relay.example" for number in range(20)], transport="bulk")
        assert await settled(bus, usual) == Counter(sent=30, refused=1)
        assert await settled(bus, other) == Counter(sent=20)
    finally:
        stop.set()
        await asyncio.wait_for(role, timeout=60)
        await vault.close()
        await second.stop()
        await bulk.stop()
    assert sorted(second.taken) == sorted(addresses)
    assert len(bulk.taken) == 20
    for content in [*second.contents.values(), *bulk.contents.values()]:
        assert content.isascii(), "signed mail must survive a relay without 8BITMIME"
        for place in range(len(KeyKind)):
            verifier = dkim.DKIM(content)
            assert verifier.verify(idx=place, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")])
