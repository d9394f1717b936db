"""Keep a file in step with a certificate of the installation, so that a door can show it and take it anew."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import CredentialError
from todoku.credentials.inventory import decode_record
from todoku.credentials.types import INSTALLATION

log = structlog.get_logger(__name__)

_MODE: Final = 0o600


class CertificateFile:
    """Writes certificate, chain and key into one PEM file, which is replaced whole: the two never miss each other.

    Only what was proven is written. A credential that is away, locked or empty leaves the file as it is. The file holds
    the key in clear, mode 0600, as every TLS server needs it.
    """

    def __init__(
        self, bus: Bus, cipher: SecretCipher, credential_id: str, path: Path, written: Callable[[], None]
    ) -> None:
        """written: called after the file was written anew."""
        self._bus = bus
        self._cipher = cipher
        self._key = f"{INSTALLATION}.{credential_id}"
        self._path = path
        self._written = written

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the credential until stop is set; a bus that is away is waited for."""
        watch = await self._bus.bucket(CREDENTIALS_BUCKET).follow(self._changed, stop)
        try:
            await stop.wait()
        finally:
            if watch is not None:
                await watch.stop()

    def _changed(self, key: str, value: bytes | None) -> None:
        if key != self._key or value is None:
            return
        try:
            record = decode_record(value)
            secrets = self._cipher.open(key, record.current.sealed)
        except CredentialError as error:
            log.error("credential.certificate_not_written", key=key, error=error.what, todo=error.todo)
            return
        if not secrets.get("certificate_pem"):
            return
        content = f"{secrets['certificate_pem'].strip()}\n{secrets['key_pem'].strip()}\n".encode("ascii")
        try:
            if self._path.exists() and self._path.read_bytes() == content:
                return
            write_private(self._path, content)
        except OSError as error:
            log.error("credential.certificate_not_written", key=key, error=f"{self._path}: {error.strerror}")
            return
        log.info("credential.certificate_written", key=key, path=str(self._path))
        self._written()


def write_private(path: Path, content: bytes) -> None:
    """Put a file in its place, mode 0600, whole or not at all, also when power fails. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
