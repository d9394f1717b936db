"""A survey of the DKIM keys names each file, also those that can't be used, and reads again only what changed."""

from __future__ import annotations

from pathlib import Path

from todoku.delivery.signing import KeyFolder
from todoku.kernel.clock import VirtualClock
from todoku.mail.dkim import KeyKind, new_key


def test_every_file_is_named_and_bad_ones_say_why(tmp_path: Path, clock: VirtualClock) -> None:
    folder = KeyFolder(tmp_path / "dkim", clock)
    assert folder.survey() == []
    folder.add(new_key("shop.example", "a", KeyKind.ED25519), in_use=True)
    folder.add(new_key("shop.example", "b", KeyKind.ED25519), in_use=False)
    bad = tmp_path / "dkim" / "shop.example" / "c.pem"
    bad.write_bytes(b"rubbish")
    bad.chmod(0o600)
    open_to_all = tmp_path / "dkim" / "shop.example" / "d.pem"
    open_to_all.write_bytes(b"rubbish")
    open_to_all.chmod(0o644)
    (tmp_path / "dkim" / "Not A Domain").mkdir()
    (tmp_path / "dkim" / "Not A Domain" / "e.pem").write_bytes(b"x")
    found = {(file.domain, file.selector): file for file in folder.survey()}
    assert [file.in_use for file in found.values() if file.key is not None] == [True, False]
    assert "can't be read" in found["shop.example", "c"].trouble
    assert "may be read by others" in found["shop.example", "d"].trouble
    assert found["Not A Domain", "e"].trouble
    assert all((file.key is None) == bool(file.trouble) for file in found.values())


def test_what_did_not_change_is_not_read_again(tmp_path: Path, clock: VirtualClock) -> None:
    folder = KeyFolder(tmp_path, clock)
    folder.add(new_key("shop.example", "a", KeyKind.ED25519), in_use=True)
    (first,) = folder.survey()
    (second,) = folder.survey()
    assert second is first
    folder.use("shop.example", "a", in_use=False)
    (third,) = folder.survey()
    assert (third.in_use, third.selector, third.made_at_utc) == (False, "a", first.made_at_utc)
    third.path.unlink()
    assert folder.survey() == []
