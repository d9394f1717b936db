"""Secrets are sealed for one name, and keys are rotated."""

from __future__ import annotations

from pathlib import Path

import pytest

from todoku.credentials.cipher import SecretCipher, keys_of, new_key
from todoku.credentials.errors import BadCredential, SecretsLocked

_SECRETS = {"username": "reserve@example.com", "password": "見本 open sesame"}


def test_what_is_sealed_is_opened_and_not_to_be_seen() -> None:
    cipher = SecretCipher([new_key()])
    sealed = cipher.seal("group.imap", _SECRETS)
    assert cipher.open("group.imap", sealed) == _SECRETS
    assert b"sesame" not in sealed


def test_a_secret_of_one_name_is_none_of_another() -> None:
    cipher = SecretCipher([new_key()])
    with pytest.raises(SecretsLocked, match="another one's"):
        cipher.open("other.imap", cipher.seal("group.imap", _SECRETS))


def test_keys_are_rotated_without_a_moment_in_the_dark() -> None:
    old, new = new_key(), new_key()
    sealed = SecretCipher([old]).seal("a.b", _SECRETS)
    both = SecretCipher([new, old])
    assert both.open("a.b", sealed) == _SECRETS
    anew = both.seal("a.b", both.open("a.b", sealed))
    assert SecretCipher([new]).open("a.b", anew) == _SECRETS
    with pytest.raises(SecretsLocked, match="can't be decrypted"):
        SecretCipher([new]).open("a.b", sealed)


def test_changed_bytes_and_odd_keys_are_refused_without_showing_them() -> None:
    cipher = SecretCipher([new_key()])
    with pytest.raises(SecretsLocked):
        cipher.open("a.b", b"x" + cipher.seal("a.b", _SECRETS)[1:])
    with pytest.raises(BadCredential) as caught:
        SecretCipher(["not-a-key-at-all"])
    assert "not-a-key" not in str(caught.value)


def test_the_first_key_is_made_once_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    first = keys_of("", tmp_path)
    assert keys_of("", tmp_path) == first
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600


def test_keys_come_from_a_setting_or_a_file(tmp_path: Path) -> None:
    one, two = new_key(), new_key()
    assert keys_of(f"{one} {two}", tmp_path) == [one, two]
    (tmp_path / "keys").write_text(f"{one}\n{two}\n", encoding="ascii")
    assert keys_of(f"file:{tmp_path / 'keys'}", tmp_path) == [one, two]
    with pytest.raises(BadCredential, match="there is no file"):
        keys_of(f"file:{tmp_path / 'missing'}", tmp_path)
