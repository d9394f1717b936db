"""Facts about a NATS: reachable, version, JetStream, durable, clock."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats import errors as nats_errors
from nats.aio.client import Client

from todoku.engines import binaries, files
from todoku.engines.skew import skew_health
from todoku.kernel.clock import Clock
from todoku.kernel.health import Health, HealthState

MONITORING_PORT = 8222

_BADNESS = {HealthState.OK: 0, HealthState.UNKNOWN: 1, HealthState.LATE: 2, HealthState.FAILING: 3}
_SYNC = re.compile(r"^\s*sync(?:_interval)?\s*[:=\s]\s*\"?([\w.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Answer:
    version: str
    jetstream: bool
    before: datetime
    after: datetime
    server_time: datetime | None


def check_nats(url: str, clock: Clock, *, configuration: Path | None = None) -> list[Health]:
    """Ask the server; url "" = an embedded one that never ran. configuration: the file of an embedded one, which
    may well be stopped now; another's server that does not answer is a failure.

    The sync setting of another's server is only told by its monitoring port, so it is often unknown. Not to be
    called inside a running event loop.
    """
    if not url:
        return [_not_there("it never ran in this home", HealthState.UNKNOWN, clock)]
    servers = [one.strip() for one in url.split(",") if one.strip()]
    if len(servers) > 1:
        return _cluster(servers, clock)
    try:
        answer = asyncio.run(_ask(url, clock))
    except (OSError, TimeoutError, nats_errors.Error) as error:
        state = HealthState.UNKNOWN if configuration is not None else HealthState.FAILING
        return [_not_there(str(error) or type(error).__name__, state, clock)]
    facts = [
        Health("nats.reachable", HealthState.OK, "it answers", clock.now_utc()),
        _version(answer.version, clock),
        _jetstream(answer.jetstream, clock),
        _durability(url, configuration, clock),
    ]
    if answer.server_time is not None:
        facts.append(skew_health("nats.clock", answer.server_time, answer.before, answer.after))
    return facts


def _cluster(servers: list[str], clock: Clock) -> list[Health]:
    """Ask each server; the facts are those of the worst one, and a missing one is named though the others go on."""
    by_server = {urlsplit(server).netloc.rpartition("@")[2]: check_nats(server, clock) for server in servers}
    away = [name for name, facts in by_server.items() if facts[0].state is not HealthState.OK]
    worst: dict[str, Health] = {}
    for name, facts in by_server.items():
        for fact in facts[1:] if name not in away else []:
            known = worst.get(fact.name)
            if known is None or _BADNESS[fact.state] > _BADNESS[known.state]:
                worst[fact.name] = replace(fact, detail=f"{name}: {fact.detail}")
    answering = len(servers) - len(away)
    if not away:
        first = Health("nats.reachable", HealthState.OK, f"all {answering} servers answer", clock.now_utc())
    else:
        majority = answering > len(servers) // 2
        first = Health(
            "nats.reachable",
            HealthState.LATE if majority else HealthState.FAILING,
            f"{answering} of {len(servers)} servers answer; not {', '.join(away)}",
            clock.now_utc(),
            "bring it back soon: one more and nothing is stored" if majority else "bring most of them back",
        )
    return [first, *worst.values()]


def sync_of_configuration(text: str) -> str:
    """Return the sync_interval that a NATS configuration sets, "" when it sets none."""
    match = _SYNC.search(text)
    return match[1] if match else ""


async def _ask(url: str, clock: Clock) -> _Answer:
    client = Client()
    async with asyncio.timeout(8.0):
        await client.connect(url, name="todoku doctor", allow_reconnect=False, connect_timeout=3, error_cb=_ignore)
        try:
            version = client.connected_server_version
            before = clock.now_utc()
            try:
                message = await client.request("$JS.API.STREAM.LIST", b"", timeout=3.0)
                answer: dict[str, Any] = json.loads(message.data)
            except nats_errors.NoRespondersError:
                answer = {"error": {"description": "no JetStream"}}
            after = clock.now_utc()
        finally:
            await client.close()
    streams = answer.get("streams") or []
    stamp = streams[0].get("ts") if streams else None
    return _Answer(
        version=f"{version.major}.{version.minor}.{version.patch}",
        jetstream="error" not in answer,
        before=before,
        after=after,
        server_time=datetime.fromisoformat(stamp) if stamp else None,
    )


async def _ignore(error: Exception) -> None:
    """Leave errors to the call that raises them."""


def _not_there(why: str, state: HealthState, clock: Clock) -> Health:
    todo = "start it with `todoku serve`, or read <home>/logs/nats.log"
    if state is HealthState.FAILING:
        todo = "correct TODOKU_NATS_URL, or look after that server and the network"
    return Health("nats.reachable", state, f"NATS does not answer: {why}", clock.now_utc(), todo)


def _version(text: str, clock: Clock) -> Health:
    if binaries.read_version(text) >= binaries.MINIMUM[binaries.NATS]:
        return Health("nats.version", HealthState.OK, text, clock.now_utc())
    todo = "upgrade it to 2.12 or later"
    return Health("nats.version", HealthState.FAILING, f"{text} is too old", clock.now_utc(), todo)


def _jetstream(there: bool, clock: Clock) -> Health:
    if there:
        return Health("nats.jetstream", HealthState.OK, "JetStream is on", clock.now_utc())
    todo = "add `jetstream { store_dir: …, sync_interval: always }` to its configuration"
    return Health("nats.jetstream", HealthState.FAILING, "JetStream is off for this user", clock.now_utc(), todo)


def _durability(url: str, configuration: Path | None, clock: Clock) -> Health:
    """Judge the sync setting: with the default of two minutes a power cut loses what was acknowledged."""
    name = "nats.durable"
    sync = sync_of_configuration(files.read_or_empty(configuration)) if configuration else _monitored_sync(url)
    if sync == "always":
        return Health(name, HealthState.OK, "messages reach the disk before they are acknowledged", clock.now_utc())
    todo = "set `sync_interval: always` in its jetstream block, or run three servers and declare three replicas"
    if sync is None:
        detail = f"its sync setting can't be seen (no monitoring on port {MONITORING_PORT})"
        return Health(name, HealthState.UNKNOWN, detail, clock.now_utc(), todo)
    detail = f"sync_interval is {sync or 'the default, 2m'}: a power cut can lose what was acknowledged"
    return Health(name, HealthState.FAILING, detail, clock.now_utc(), todo)


def _monitored_sync(url: str) -> str | None:
    host = urlsplit(url).hostname or "127.0.0.1"
    try:
        with urllib.request.urlopen(f"http://{host}:{MONITORING_PORT}/varz", timeout=2.0) as answer:
            facts = json.load(answer)
    except (OSError, ValueError):
        return None
    if facts.get("port") != (urlsplit(url).port or 4222):
        return None  # another server on the same machine
    settings = (facts.get("jetstream") or {}).get("config") or {}
    if settings.get("sync_always"):
        return "always"
    return f"{settings.get('sync_interval', 0) // 1_000_000_000}s"
