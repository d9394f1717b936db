from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from todoku.vault import open_vault

SOURCE = Path(__file__).parents[3] / "src"

WRITER = """
import asyncio, os, sys
from pathlib import Path
from todoku.vault import open_vault

async def main():
    vault = open_vault("", Path(sys.argv[1]))
    os.write(1, b"open\\n")  # behind what opening said of the last one's log
    async def write(n):
        while True:
            stored = await vault.put("p", os.urandom(2000))
            os.write(1, (stored.key + "\\n").encode())  # one write: a line is there whole or not at all
    await asyncio.gather(*[write(n) for n in range(32)])

asyncio.run(main())
"""


def test_every_acknowledged_put_is_whole_after_a_kill(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(SOURCE)},
        ) as writer:
            assert writer.stdout is not None
            while writer.stdout.readline() != "open\n":
                continue
            acknowledged += [writer.stdout.readline().strip() for _ in range(200)]
            writer.kill()
            acknowledged += [line.strip() for line in writer.stdout]
    assert len(acknowledged) >= 600
    assert asyncio.run(sizes(tmp_path, acknowledged)) == {2000}


async def sizes(folder: Path, keys: list[str]) -> set[int]:
    vault = open_vault("", folder)
    try:
        return {len(content) for content in await asyncio.gather(*[vault.get(key) for key in keys])}
    finally:
        await vault.close()
