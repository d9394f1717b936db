"""What every source must do from which mails are fetched, as one function that any kind can be put to."""

from __future__ import annotations

import asyncio
from typing import Protocol

from todoku.sources.credentials import Credential, Keyring
from todoku.sources.credentials import NotedKeyring as NotedKeyring
from todoku.sources.errors import CannotLook, Cause, MailVanished
from todoku.sources.types import MailSource

_MANY = 120
_SOON_SECONDS = 20.0
_MAILS = (
    b"Subject: one\r\n\r\nline\r\n",
    b"Subject: no end of line\r\n\r\nend",
    "Subject: =?iso-2022-jp?B?GyRCTT1Ocxsob?=\r\n\r\n予約".encode("iso2022_jp") + b"\r\n",
    b"Subject: eight bits\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4\xba\x88\xff\x80\r\n",
    b"Subject: dots\r\n\r\n.\r\n..\r\n.leading\r\n",
    b"no header at all\r\n",
    b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 20_000,
)


class SourceBench(Protocol):
    """A place of one kind, at first empty, with the other side in hand."""

    def open(self) -> MailSource:
        """Return a new source for the place."""
        ...

    async def deliver(self, raw: bytes) -> None:
        """Let the place have one mail more."""
        ...

    async def remove_all(self) -> None:
        """Remove every mail, as somebody else who uses the place may."""
        ...

    async def break_off(self) -> None:
        """Let nobody reach the place."""
        ...

    async def restore(self) -> None:
        """Let it be reached again, with all that it had."""
        ...


class LoginBench(SourceBench, Protocol):
    """A place that asks who comes."""

    def open_with(self, keyring: Keyring) -> MailSource:
        """Return a new source that logs in with these."""
        ...

    def good(self) -> list[Credential]:
        """Return credentials that work, one of each kind that the place knows."""
        ...

    def bad(self) -> list[Credential]:
        """Return credentials that it refuses: wrong, expired, of somebody unknown."""
        ...


async def check_logins(bench: LoginBench) -> None:
    """Raise AssertionError with the broken rule about credentials."""
    await bench.deliver(_MAILS[0])
    for good in bench.good():
        keyring = NotedKeyring([good])
        source = bench.open_with(keyring)
        assert len(await _keys(source)) == 1, f"{good.kind} must let us in"
        assert good.credential_id in keyring.uses, "a login that worked must be told to the keyring"
        await source.close()
    for bad in bench.bad():
        await _check_refusal(bench, bad)
    source = bench.open_with(NotedKeyring([]))
    assert await _trouble(source) is Cause.CREDENTIAL, "no credential at all is a trouble with credentials"
    await source.close()


async def _check_refusal(bench: LoginBench, bad: Credential) -> None:
    keyring = NotedKeyring([bad])
    source = bench.open_with(keyring)
    assert await _trouble(source) is Cause.CREDENTIAL, f"{bad.credential_id} must be told from a server that is away"
    assert [name for name, _ in keyring.refusals] == [bad.credential_id], "a refusal must be told once"
    for secret in bad.secrets.values():
        assert len(secret) < 8 or secret not in keyring.refusals[0][1], "no secret may be in what is told"
    keyring.credentials.append(bench.good()[0])  # a renewed one is used at once, without a restart
    assert len(await _keys(source)) == 1, "the next credential must be used when the first is refused"
    assert keyring.uses[-1] == bench.good()[0].credential_id, "who was let in must be told"
    await source.close()


async def _trouble(source: MailSource) -> Cause | None:
    try:
        await _keys(source)
    except CannotLook as error:
        return error.cause
    return None


async def check_source(bench: SourceBench) -> None:
    """Raise AssertionError with the broken rule."""
    source = bench.open()
    assert await _keys(source) == [], "an empty place must list nothing"
    await _check_bytes(bench, source)
    await _check_keys(bench, source)
    await _check_waiting(bench, source)
    await _check_trouble(bench, source)
    await _check_vanishing(bench, source)
    await source.close()
    await source.close()  # idempotent
    await bench.deliver(_MAILS[0])
    assert len(await _keys(source)) == 1, "a source must be usable again after it was closed"
    await source.close()


async def _check_bytes(bench: SourceBench, source: MailSource) -> None:
    for raw in _MAILS:
        await bench.deliver(raw)
    keys = await _keys(source)
    assert len(keys) == len(_MAILS), f"{len(_MAILS)} mails delivered, {len(keys)} listed"
    fetched = [await source.fetch(key) for key in keys]
    assert sorted(fetched) == sorted(_MAILS), "mails must come byte for byte"
    assert sorted(await _keys(source)) == sorted(keys), "looking and fetching must change nothing"


async def _check_keys(bench: SourceBench, source: MailSource) -> None:
    before = set(await _keys(source))
    twin = b"Message-ID: <>\r\nSubject: twin\r\n\r\nthe same bytes\r\n"
    for _ in range(_MANY):
        await bench.deliver(twin)
    keys = await _keys(source)
    assert len(set(keys)) == len(keys) == len(before) + _MANY, "each mail must have a key of its own, equal ones too"
    assert before <= set(keys), "a mail must keep its key when others come"
    other = bench.open()
    assert set(await _keys(other)) == set(keys), "keys must be the same for whoever looks"
    some = sorted(set(keys) - before)[:16]
    assert await asyncio.gather(*(other.fetch(key) for key in some)) == [twin] * len(some), (
        "mails fetched side by side must not mix"
    )
    await other.close()


async def _check_waiting(bench: SourceBench, source: MailSource) -> None:
    await _keys(source)
    await source.until_changed(0.05)  # returns although nothing came
    async with asyncio.timeout(_SOON_SECONDS):
        waiting = asyncio.create_task(source.until_changed(600.0))
        await asyncio.sleep(0.05)
        count = len(await _keys(bench.open()))
        await bench.deliver(_MAILS[0])
        await waiting
    assert len(await _keys(source)) == count + 1, "what came must be listed after the waiting ended"
    await bench.deliver(_MAILS[0])  # between a look and the waiting
    async with asyncio.timeout(_SOON_SECONDS):
        await source.until_changed(600.0)


async def _check_trouble(bench: SourceBench, source: MailSource) -> None:
    keys = await _keys(source)
    await bench.break_off()
    try:
        await _keys(source)
    except CannotLook as error:
        said = error.what
    else:
        raise AssertionError("a place that can't be reached must not look like an empty one")
    assert said, "what can't be looked at must say why"
    await bench.restore()
    assert set(await _keys(source)) == set(keys), "after the trouble all must be there under the same keys"
    await source.fetch(keys[0])


async def _check_vanishing(bench: SourceBench, source: MailSource) -> None:
    keys = await _keys(source)
    await bench.remove_all()
    try:
        await source.fetch(keys[0])
    except MailVanished:
        pass
    else:
        raise AssertionError("a mail that was removed must be said to have vanished")
    await bench.deliver(_MAILS[1])
    (key,) = await _keys(source)
    assert key not in keys, "a key must never be given twice"
    assert await source.fetch(key) == _MAILS[1], "after one that vanished the next must come"
    await bench.remove_all()


async def _keys(source: MailSource) -> list[str]:
    return [one.key async for one in source.list_mails()]
