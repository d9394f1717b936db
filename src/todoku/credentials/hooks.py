"""Ways to have a new secret: a command, files, an HTTP answer (HashiCorp Vault's PKI speaks so), OAuth refresh, ACME.

A hook gets the secrets that are in use and returns new ones; it changes nothing else and nothing here. What it needs
itself (a refresh token, a client secret, a token for the vault) is kept among the credential's own secrets, encrypted.
Hooks are set from the shell alone: whoever may set one may run commands and reach addresses inside the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from todoku.credentials import acme
from todoku.credentials.challenges import ChallengeShelf
from todoku.credentials.errors import BadCredential, RenewalFailed
from todoku.credentials.types import Renewed
from todoku.kernel.clock import Clock

SECONDS: Final = 60.0
MOST_BYTES: Final = 1024 * 1024
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Tools:
    """What hooks may need. shelf: where answers to an authority are put; None where nobody would give them."""

    clock: Clock
    shelf: ChallengeShelf | None = None


Hook = Callable[[Mapping[str, str], Mapping[str, str], Tools], Awaitable[Renewed]]


async def by_command(settings: Mapping[str, str], secrets: Mapping[str, str], _tools: Tools) -> Renewed:
    """Run `argv` and read one JSON object from its output: secrets by name, and `not_after` (ISO 8601) if it has one.

    The command gets the secrets in use as JSON on its standard input, never in its arguments or environment. Raises
    RenewalFailed when it fails, takes more than a minute, or says something else.
    """
    argv = shlex.split(settings["argv"])
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        )
    except OSError as error:
        raise RenewalFailed(f"{argv[0]} can't be run: {error.strerror}", kept="the old secret") from error
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate(json.dumps(dict(secrets)).encode())
    except (TimeoutError, asyncio.CancelledError) as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
        await process.wait()
        if isinstance(error, asyncio.CancelledError):
            raise
        raise RenewalFailed(f"{argv[0]} took more than {SECONDS:g} seconds", kept="the old secret") from error
    if process.returncode:
        raise RenewalFailed(f"{argv[0]} ended with {process.returncode}", kept="the old secret")
    told = _object(output, argv[0])
    return Renewed({**secrets, **_texts(told, leave_out="not_after")}, _moment(told.get("not_after")))


async def by_file(settings: Mapping[str, str], secrets: Mapping[str, str], _tools: Tools) -> Renewed:
    """Read secrets from files that somebody else renews: each setting names a secret and its path."""

    def read() -> dict[str, str]:
        found = {}
        for name, path in settings.items():
            text = Path(path).read_text(encoding="utf-8")
            found[name] = text if name.endswith("_pem") else text.strip()
        return found

    try:
        return Renewed({**secrets, **await asyncio.to_thread(read)})
    except (OSError, UnicodeDecodeError) as error:
        raise RenewalFailed(f"a file can't be read: {error}", kept="the old secret") from error


async def by_oauth(settings: Mapping[str, str], secrets: Mapping[str, str], tools: Tools) -> Renewed:
    """Refresh a token (RFC 6749 section 6) at `token_url`; a refresh token that is replaced is kept with it.

    secrets: refresh_token, and client_secret where the server wants one. settings: client_id, and scope.
    """
    form = {"grant_type": "refresh_token", "refresh_token": secrets.get("refresh_token", "")}
    form |= {name: settings[name] for name in ("client_id", "scope") if settings.get(name)}
    if secrets.get("client_secret"):
        form["client_secret"] = secrets["client_secret"]
    told = await _ask("POST", settings["token_url"], {}, form=form)
    if not isinstance(told.get("access_token"), str):
        raise RenewalFailed("the answer has no access_token", kept="the old token")
    fresh = {**secrets, "token": told["access_token"]}
    if isinstance(told.get("refresh_token"), str):
        fresh["refresh_token"] = told["refresh_token"]
    lives = told.get("expires_in")
    if isinstance(lives, bool) or not isinstance(lives, int | float) or not 0 < lives < 10**9:
        return Renewed(fresh)
    return Renewed(fresh, tools.clock.now_utc() + timedelta(seconds=lives))


async def by_http(settings: Mapping[str, str], secrets: Mapping[str, str], _tools: Tools) -> Renewed:
    """Ask an address and take secrets out of its JSON answer, as HashiCorp Vault's `pki/issue` gives them.

    settings: url, body (JSON), fields (`certificate_pem=data.certificate key_pem=data.private_key`), header (that which
    carries the secret `renewal_token`, such as X-Vault-Token).
    """
    headers = {settings["header"]: secrets.get("renewal_token", "")} if settings.get("header") else {}
    told = await _ask("POST", settings["url"], headers, body=settings.get("body") or "{}")
    fresh = dict(secrets)
    for name, _, path in (pair.partition("=") for pair in settings["fields"].split()):
        value: Any = told
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if not isinstance(value, str):
            raise RenewalFailed(f"the answer has no {path}", kept="the old secret")
        fresh[name] = value
    return Renewed(fresh)


async def by_acme(settings: Mapping[str, str], secrets: Mapping[str, str], tools: Tools) -> Renewed:
    """Order a certificate from an authority (RFC 8555); see `credentials.acme`."""
    if tools.shelf is None:
        raise RenewalFailed("certificates are ordered by the role intake alone", kept="the old certificate")
    await tools.shelf.tidy()
    return await acme.order(settings, secrets, tools.shelf)


HOOKS: Final[dict[str, tuple[Hook, tuple[str, ...]]]] = {  # by name: the hook, and the settings that it needs
    "command": (by_command, ("argv",)),
    "file": (by_file, ()),
    "oauth": (by_oauth, ("token_url",)),
    "http": (by_http, ("url", "fields")),
    "acme": (by_acme, acme.NEEDED_SETTINGS),
}


def require_renewal(renewal: Mapping[str, str]) -> None:
    """Raise BadCredential unless a hook can work with these settings; {} = by hand."""
    if not renewal:
        return
    name = renewal.get("by", "")
    if name not in HOOKS:
        raise BadCredential(f"there is no renewal by {name!r}", todo=f"choose one of {', '.join(HOOKS)}")
    missing = [one for one in HOOKS[name][1] if not renewal.get(one)]
    if missing or (name == "file" and len(renewal) < 2):
        raise BadCredential(f"renewal by {name} needs {', '.join(missing) or 'NAME=PATH for each secret'}")
    for setting in ("url", "token_url", "directory"):
        if renewal.get(setting):
            _require_url(renewal[setting])
    if name == "acme":
        acme.require_acme(renewal)


async def renew(renewal: Mapping[str, str], secrets: Mapping[str, str], tools: Tools) -> Renewed:
    """Return new secrets by the hook that the renewal names; raises RenewalFailed, BadCredential."""
    require_renewal(renewal)
    hook, _needed = HOOKS[renewal["by"]]
    return await hook({name: value for name, value in renewal.items() if name != "by"}, secrets, tools)


def _require_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise BadCredential("an address for renewal must begin with https://", todo="secrets don't travel in the clear")


async def _ask(
    method: str, url: str, headers: dict[str, str], *, form: dict[str, str] | None = None, body: str | None = None
) -> dict[str, Any]:
    """Return the JSON object of an answer 200; raises RenewalFailed without anything that the answer says."""
    _require_url(url)
    host = urlsplit(url).hostname
    if body is not None:
        headers = {**headers, "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, data=form or body, allow_redirects=False) as answer,
        ):
            content = await answer.content.read(MOST_BYTES)
            if answer.status != 200:
                raise RenewalFailed(f"{host} answered {answer.status}", kept="the old secret")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise RenewalFailed(f"{host} can't be asked: {type(error).__name__}", kept="the old secret") from error
    return _object(content, str(host))


def _object(content: bytes, who: str) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except ValueError as error:
        raise RenewalFailed(f"{who} did not say JSON", kept="the old secret") from error
    if not isinstance(told, dict):
        raise RenewalFailed(f"{who} did not say a JSON object", kept="the old secret")
    return told


def _texts(told: dict[str, Any], *, leave_out: str) -> dict[str, str]:
    return {name: value for name, value in told.items() if name != leave_out and isinstance(value, str)}


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
