"""Encrypt secrets at rest, by the keys of this installation.

The newest key encrypts, every key decrypts, so keys are rotated without a moment in which a secret can't be read:
put a new key in front, encrypt all anew (`CredentialBook.encrypt_anew`), take the old one away. Fernet (AES-128-CBC
and HMAC-SHA-256; github.com/fernet/spec). Each text is bound to its name: what is copied under another name is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from todoku.credentials.errors import BadCredential, SecretsLocked

_FILE_MODE: Final = 0o600


class SecretCipher:
    """Seals and opens secrets; shows none of its keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        """keys: Fernet keys, the newest first. Raises BadCredential, without the key in its words."""
        try:
            self._cipher = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise BadCredential(
                "a key for secrets must be 32 bytes in URL-safe base64", todo="make one with: todoku credential new-key"
            ) from error

    def seal(self, name: str, secrets: Mapping[str, str]) -> bytes:
        """Return the secrets encrypted, for this name alone."""
        return self._cipher.encrypt(msgspec.msgpack.encode((name, dict(secrets))))

    def open(self, name: str, sealed: bytes) -> dict[str, str]:
        """Return the secrets; raises SecretsLocked."""
        try:
            bound_to, secrets = msgspec.msgpack.decode(self._cipher.decrypt(sealed), type=tuple[str, dict[str, str]])
        except (InvalidToken, msgspec.MsgspecError) as error:
            raise SecretsLocked(
                f"the secret of {name} can't be decrypted",
                kept="the encrypted secret",
                todo="give the key that encrypted it beside the new one (TODOKU_SECRETS_KEYS), or set the secret anew",
            ) from error
        if bound_to != name:
            raise SecretsLocked(f"the secret of {name} is another one's", todo="set the secret anew")
        return secrets


def new_key() -> str:
    """Return a fresh key."""
    return Fernet.generate_key().decode("ascii")


def keys_of(setting: str, home: Path) -> list[str]:
    """Return the keys of this installation, the newest first.

    setting: keys separated by blanks, or `file:<path>` with one key a line; empty: `<home>/secrets.key`, which is made
    on the first call with mode 0600. Raises BadCredential when a named file can't be read.
    """
    if setting and not setting.startswith("file:"):
        return setting.split()
    path = Path(setting.removeprefix("file:")) if setting else home / "secrets.key"
    try:
        return path.read_text(encoding="ascii").split()
    except FileNotFoundError as error:
        if setting:
            raise BadCredential(f"there is no file {path}", todo="name the file with the keys for secrets") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadCredential(f"{path} can't be read: {error}", todo="let this process read the keys") from error
    home.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    except FileExistsError:  # another process made it just now
        return path.read_text(encoding="ascii").split()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(new_key() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return path.read_text(encoding="ascii").split()
