"""A process is killed at each call by which a vault touches its disk; what it was told is there, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

from todoku.vault.local import LocalVault

ROUNDS = 200

# One process forks a child for each round; the child dies by its own SIGKILL at the n-th call, half of a write done.
NURSERY = """
import asyncio, os, random, signal, sys
from pathlib import Path
import todoku.vault.packs
from todoku.vault.index import Index
from todoku.vault.local import LocalVault

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
todoku.vault.packs.PACK_OCTETS = 6_000
CALLS = ("open", "pwrite", "fsync", "fdatasync", "posix_fallocate", "ftruncate", "rename", "unlink", "close")
OF_INDEX = ("add_pack", "add", "close_pack", "forget_pack", "checkpoint")

def die_at(nth):
    seen = 0
    def wrapped(real, name):
        def call(*arguments, **named):
            nonlocal seen
            seen += 1
            if seen == nth:
                if name == "pwrite":
                    descriptor, octets, *rest = arguments
                    real(descriptor, octets[: len(octets) // 2], *rest)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)
        return call
    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name), name))
    for name in OF_INDEX:
        setattr(Index, name, wrapped(getattr(Index, name), name))

async def put_until_dead(chance, told):
    vault = LocalVault(folder)
    tell = os.dup(told)
    real_write = REAL_WRITE
    async def put(content):
        stored = await vault.put("p", content)
        real_write(tell, (stored.key + "\\n").encode())
    for _ in range(40):
        await asyncio.gather(*(put(chance.randbytes(chance.randrange(2_000))) for _ in range(chance.randint(1, 9))))
    await vault.close()

REAL_WRITE = os.write
for number in range(rounds):
    child = os.fork()
    if child == 0:
        chance = random.Random(number)
        die_at(number + 1 if number % 2 else chance.randrange(1, 400))
        asyncio.run(put_until_dead(chance, 1))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        REAL_WRITE(1, b"killed\\n")
"""


def test_what_was_told_is_there_after_200_kills(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NURSERY, str(tmp_path), str(ROUNDS)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    told = [line for line in done.stdout.splitlines() if line.startswith("p/")]
    assert done.stdout.splitlines().count("killed") > 0.9 * ROUNDS
    assert len(told) > 10 * ROUNDS
    found = asyncio.run(read(tmp_path, told))
    assert [hashlib.sha256(content).hexdigest() for content in found] == [key.removeprefix("p/") for key in told]
    assert list((tmp_path / "packs").glob("*.open")) == []
    (tmp_path / "index.sqlite3").unlink()
    assert asyncio.run(read(tmp_path, told)) == found


async def read(folder: Path, keys: list[str]) -> list[bytes]:
    vault = LocalVault(folder)
    try:
        return [content for content in await vault.get_many(keys) if isinstance(content, bytes)]
    finally:
        await vault.close()
