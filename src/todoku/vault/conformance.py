"""What every vault must do, as one function that any implementation can be put to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from todoku.vault.errors import VaultMissing
from todoku.vault.types import Vault

_BYTES = bytes(range(256)) * 17


async def check_vault(make: Callable[[], Vault]) -> None:
    """Raise AssertionError with the broken rule. make opens the same, at first empty, vault again and again."""
    vault = make()
    await _check_round_trip(vault)
    await _check_strange_keys(vault)
    await _check_together(vault)
    await vault.close()
    again = make()
    stored = await again.put("p-one", _BYTES)
    assert not stored.created, "a content must still be known after the vault was opened again"
    assert await again.get(stored.key) == _BYTES, "a content must be there after the vault was opened again"
    await again.close()


async def _check_round_trip(vault: Vault) -> None:
    for content in (_BYTES, b"", b"\x00\r\n.\r\n", "予約".encode("iso2022_jp"), b"x" * 3_000_000):
        digest = hashlib.sha256(content).hexdigest()
        first = await vault.put("p-one", content)
        assert first.sha256 == digest, "the hash must be SHA-256 of the bytes"
        assert first.key == f"p-one/{digest}", "the key must be <project>/<sha256>"
        assert first.size_bytes == len(content), "the size must be that of the bytes"
        assert first.created, "a first put must say that it created"
        assert await vault.get(first.key) == content, "what was put must come back unchanged"
        second = await vault.put("p-one", content)
        assert second.key == first.key, "the same bytes must get the same key"
        assert not second.created, "a second put must say that it created nothing"
    other = await vault.put("p-two", _BYTES)
    assert other.created, "projects must not share contents"


async def _check_strange_keys(vault: Vault) -> None:
    unknown = hashlib.sha256(b"never put").hexdigest()
    for key in (f"p-one/{unknown}", "", "p-one", "../../etc/passwd", f"p-one/../p-two/{unknown}", f"/p-one/{unknown}"):
        try:
            await vault.get(key)
        except VaultMissing:
            (found,) = await vault.get_many([key])
            assert isinstance(found, VaultMissing), f"a get_many of {key!r} must answer VaultMissing"
            continue
        raise AssertionError(f"a get of {key!r} must raise VaultMissing")
    for project in ("", "..", "a/b", "A", "ü"):
        try:
            await vault.put(project, b"x")
        except ValueError:
            continue
        raise AssertionError(f"a put for project {project!r} must raise ValueError")


async def _check_together(vault: Vault) -> None:
    contents = [f"mail {n % 50}".encode() for n in range(100)]
    stored = await asyncio.gather(*[vault.put("p-three", content) for content in contents])
    assert len({one.key for one in stored}) == 50, "equal contents put together must share one key"
    for one, content in zip(stored, contents, strict=True):
        assert await vault.get(one.key) == content, "contents put together must not mix"
    keys = [one.key for one in stored]
    found = await vault.get_many([*keys, "p-three/nothing"])
    assert found[:-1] == contents, "get_many must answer in order"
    assert isinstance(found[-1], VaultMissing), "get_many must say what is missing, and hand out the rest"
    assert await vault.get_many([]) == [], "get_many of nothing is nothing"
