"""What it costs to keep a mail in the local vault and to read it again, beside one file for each mail.

    .venv/bin/python bench/vault.py [--json] [--mails N] [--folder PATH]

One process; mails of 5 KB of bytes that nobody has seen, put in groups of 30 as the doors put them and read 200 at
once as the reader does. Beside it the plain way that is as safe: a file aside, fsync, rename, fsync of its folder; and
the same without any fsync, which a power cut takes away. CPU seconds of the process and its kernel are taken, and
beside them the wall seconds, which are the disk's. The folder must be on the disk that counts (not a tmpfs).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from todoku.vault import Vault, open_vault

MAIL_OCTETS = 5_000
PUT_AT_ONCE = 30
READ_AT_ONCE = 200


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    arguments.add_argument("--mails", type=int, default=15_000, metavar="N", help="mails (default 15000)")
    arguments.add_argument("--folder", type=Path, default=Path.cwd(), help="where a folder is made and removed again")
    options = arguments.parse_args()
    if options.mails < READ_AT_ONCE:
        arguments.error(f"--mails must be at least {READ_AT_ONCE}")
    folder = Path(tempfile.mkdtemp(prefix="bench-vault-", dir=options.folder))
    try:
        figures: dict[str, object] = {"mails": options.mails, "octets": MAIL_OCTETS}
        figures |= asyncio.run(measure_vault(folder / "vault", options.mails))
        figures["one_file_each_fsynced"] = measure_files(folder / "fsynced", min(options.mails, 2_000), fsync=True)
        figures["one_file_each_without_fsync"] = measure_files(folder / "plain", options.mails, fsync=False)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value}")


async def measure_vault(folder: Path, mails: int) -> dict[str, object]:
    """Return microseconds a mail of putting, of putting the same again, and of reading."""
    vault = open_vault("", folder)
    keys: list[str] = []
    contents = [os.urandom(MAIL_OCTETS) for _ in range(mails)]
    put = await _timed(lambda: _put_all(vault, contents, keys), mails)
    again = await _timed(lambda: _put_all(vault, contents, []), mails)
    got = await _timed(lambda: _get_all(vault, keys), mails)
    await vault.close()
    return {"put": put, "put_again": again, "get": got}


def measure_files(folder: Path, mails: int, *, fsync: bool) -> dict[str, float]:
    """Return microseconds a mail of writing a file for each."""
    contents = [os.urandom(MAIL_OCTETS) for _ in range(mails)]
    (folder / "tmp").mkdir(parents=True)
    cpu, wall = time.process_time(), time.perf_counter()
    for content in contents:
        _write_file(folder, content, fsync=fsync)
    return _figures(cpu, wall, mails)


async def _put_all(vault: Vault, contents: list[bytes], keys: list[str]) -> None:
    for begin in range(0, len(contents), PUT_AT_ONCE):
        stored = await asyncio.gather(*(vault.put("p", one) for one in contents[begin : begin + PUT_AT_ONCE]))
        keys.extend(one.key for one in stored)


async def _get_all(vault: Vault, keys: list[str]) -> None:
    for begin in range(0, len(keys), READ_AT_ONCE):
        found = await vault.get_many(keys[begin : begin + READ_AT_ONCE])
        if not all(isinstance(one, bytes) for one in found):
            raise SystemExit("the vault lost a mail")


def _write_file(folder: Path, content: bytes, *, fsync: bool) -> None:
    digest = hashlib.sha256(content).hexdigest()
    aside, place = folder / "tmp" / digest, folder / digest[:2]
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, content)
    if fsync:
        os.fsync(descriptor)
    os.close(descriptor)
    place.mkdir(exist_ok=True)
    aside.rename(place / digest)
    if fsync:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)


async def _timed(work: Callable[[], Awaitable[None]], mails: int) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    return _figures(cpu, wall, mails)


def _figures(cpu: float, wall: float, mails: int) -> dict[str, float]:
    return {
        "cpu_us": round((time.process_time() - cpu) / mails * 1e6, 1),
        "wall_us": round((time.perf_counter() - wall) / mails * 1e6, 1),
    }


if __name__ == "__main__":
    main()
