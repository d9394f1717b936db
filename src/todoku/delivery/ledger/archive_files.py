"""Files of the archive on this machine: fetched from the vault once, named by their hash, bounded in size."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

from todoku.vault import Vault, open_vault

CACHE_BYTES = 4 * 1024**3


class ArchiveFiles:
    """The way between vault and disk. Used by one thread, outside of any running event loop."""

    def __init__(self, home: Path | None = None, vault_url: str | None = None) -> None:
        """home, vault_url: of the installation when not given."""
        self._home = home or Path(settings.TODOKU_HOME)
        self._vault_url = settings.TODOKU_VAULT_URL if vault_url is None else vault_url
        self.folder = self._home / "cache" / "ledger"

    def fetch(self, keys: Iterable[str]) -> list[Path]:
        """Return the files of these keys, fetched when they are not here.

        Raises VaultMissing, VaultCorrupt (the hash is compared when it is fetched) and VaultUnavailable.
        """
        wanted = list(keys)
        missing = [key for key in wanted if not self._path(key).exists()]
        if missing:
            asyncio.run(self._fetch(missing))
            self._make_room(keep={self._path(key) for key in wanted})
        return [self._path(key) for key in wanted]

    def put(self, project_id: str, path: Path) -> str:
        """Keep the file in the vault and return its key; it was read back and compared when this returns."""
        return asyncio.run(self._put(project_id, path.read_bytes()))

    async def _put(self, project_id: str, content: bytes) -> str:
        vault = self._open()
        try:
            key = (await vault.put(project_id, content)).key
            await vault.get(key)  # compares the hash
        finally:
            await vault.close()
        return key

    async def _fetch(self, keys: list[str]) -> None:
        vault = self._open()
        try:
            for key in keys:
                content = await vault.get(key)
                await asyncio.to_thread(self._write, self._path(key), content)
        finally:
            await vault.close()

    def _open(self) -> Vault:
        return open_vault(self._vault_url, self._home / "vault")

    def _write(self, path: Path, content: bytes) -> None:
        """Appear whole or not at all; two processes may fetch the same file at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".fetching-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).rename(path)

    def _make_room(self, keep: set[Path]) -> None:
        """Remove the files that were fetched first until the rest fits."""
        files = sorted(
            ((path.stat().st_mtime, path.stat().st_size, path) for path in self.folder.rglob("*.parquet")), reverse=True
        )
        total = 0
        for _, size, path in files:
            total += size
            if total > CACHE_BYTES and path not in keep:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.parquet"
