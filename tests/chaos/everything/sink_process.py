"""A slow relay with a perfect memory; knows nothing of the product: sink_process.py PORT ANSWER_DELAY_SECONDS

XLIST answers one JSON line: [[run id, recipient, times], ...] of all messages that were taken since XFORGET.
Answers come in order, each a little late, so that at any moment messages are on their way.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter

RUN_OF = re.compile(rb"^Feedback-ID: *([0-9a-f]{32})", re.MULTILINE)
GREETING = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 104857600\r\n"


class Relay:
    """What was taken."""

    def __init__(self, delay_seconds: float) -> None:
        self.taken: Counter[tuple[str, str]] = Counter()
        self.delay_seconds = delay_seconds

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play one connection."""
        try:
            await self._play(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a sender was killed: that is what this is for
        finally:
            writer.close()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink.example ESMTP\r\n")
        recipient = ""
        while True:
            line = await reader.readuntil(b"\r\n")
            word, _, rest = line.strip().partition(b" ")
            match word.upper():
                case b"EHLO":
                    writer.write(GREETING)
                case b"RCPT":
                    recipient = rest[4:-1].decode().casefold()
                    writer.write(b"250 2.1.5 ok\r\n")
                case b"DATA":
                    writer.write(b"354 go on\r\n")
                    await self._take(recipient, await reader.readuntil(b"\r\n.\r\n"), writer)
                case b"BDAT":
                    await self._take(recipient, await reader.readexactly(int(rest.split()[0])), writer)
                case b"XLIST":
                    taken = [[run, who, times] for (run, who), times in self.taken.items()]
                    writer.write(json.dumps(taken).encode() + b"\r\n")
                case b"XFORGET":
                    self.taken.clear()
                    writer.write(b"250 2.0.0 ok\r\n")
                case b"QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    return
                case _:
                    writer.write(b"250 2.0.0 ok\r\n")

    async def _take(self, recipient: str, content: bytes, writer: asyncio.StreamWriter) -> None:
        found = RUN_OF.search(content)
        self.taken[(found[1].decode() if found else "?", recipient)] += 1
        await asyncio.sleep(self.delay_seconds)  # taken, and the answer not there yet: the gap that makes unknowns
        writer.write(b"250 2.0.0 ok\r\n")


async def main(port: str, delay_seconds: str) -> None:
    relay = Relay(float(delay_seconds))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", int(port), limit=4 * 1024 * 1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - whoever starts it reads the port
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
