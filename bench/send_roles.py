"""The processes that bench/send.py measures: `send_roles.py sender [PROFILE]` and `send_roles.py projector`.

Each prints "ready" when it can begin, works until SIGTERM, and reads where everything is from the environment.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import signal
import sys
from pathlib import Path

import uvloop


def main(role: str, profile: str = "") -> None:
    if role == "projector":
        uvloop.run(_project())
    elif profile:
        cProfile.runctx("uvloop.run(_sender())", globals(), {}, profile)
    else:
        uvloop.run(_sender())


async def _sender() -> None:
    from todoku.bus.connection import Bus
    from todoku.content.rendering import make_renderer
    from todoku.delivery.engine.options import SenderOptions
    from todoku.delivery.engine.sender import Sender
    from todoku.delivery.signing import KeyFolder, SigningDesk
    from todoku.delivery.transports.smtp import SmtpTransport
    from todoku.kernel.clock import SystemClock
    from todoku.kernel.garbage import collect_rarely

    bus = await Bus.connect(os.environ["TODOKU_NATS_URL"], name="bench-sender")
    await bus.declare()
    clock = SystemClock()
    transport = SmtpTransport(
        os.environ["TODOKU_RELAY_URL"], connections=int(os.environ["TODOKU_BENCH_CONNECTIONS"]), clock=clock
    )
    stop = _stop_on_sigterm()
    home = Path(os.environ["TODOKU_HOME"])
    processes = int(os.environ["TODOKU_BENCH_SIGNING_PROCESSES"])
    desk = SigningDesk(
        KeyFolder(home / "dkim", clock), clock, processes=processes
    )  # signs nothing while there is no key
    options = SenderOptions(eight_bit=not desk.domains())  # as the role does
    sender = Sender(bus, transport, make_renderer, clock, home / "answers", options, signer_of=desk.signer_of)
    collect_rarely()
    print("ready", flush=True)
    await sender.run(stop)
    await transport.close()
    await desk.close()
    await bus.close()


async def _project() -> None:
    import django

    django.setup()
    from todoku.bus.connection import Bus
    from todoku.delivery.ledger.projector import Projector
    from todoku.kernel.clock import SystemClock

    bus = await Bus.connect(os.environ["TODOKU_NATS_URL"], name="bench-projector")
    await bus.declare()
    projector = Projector(bus, SystemClock())
    stop = _stop_on_sigterm()
    print("ready", flush=True)
    await projector.run(stop)
    await bus.close()
    print(json.dumps({"statements": projector.counts.statements, "transactions": projector.counts.transactions}))


def _stop_on_sigterm() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


if __name__ == "__main__":
    main(*sys.argv[1:])
