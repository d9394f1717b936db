"""Three NATS servers as one cluster, which can be killed, paused and cut off.

As root with iproute2 each server lives in a network namespace of its own, joined by a bridge, so that it can be cut off
like a machine whose cable was pulled: nothing is refused, nothing is answered. Else they share the loopback interface
and can be killed and paused only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from todoku.engines import binaries

CLIENT_PORT, ROUTE_PORT = 4222, 6222
USER, PASSWORD = "todoku", "a-secret"
CAN_CUT = os.geteuid() == 0 and shutil.which("ip") is not None

_CONFIGURATION = """
server_name: {name}
listen: {address}:{client_port}
max_payload: 8MB
log_file: "{folder}/log"
authorization {{ user: todoku, password: a-secret }}
cluster {{
  name: todoku
  listen: {address}:{route_port}
  routes: [{routes}]
  ping_interval: "2s"
  ping_max: 2
  no_advertise: true
}}
jetstream {{ store_dir: "{folder}/store", sync_interval: {sync} }}
"""


@dataclass
class Node:
    """One server. place: how to run something where it lives."""

    name: str
    address: str
    client_port: int
    route_port: int
    folder: Path
    place: tuple[str, ...]
    link: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{USER}:{PASSWORD}@{self.address}:{self.client_port}"

    def start(self) -> None:
        command = [*self.place, str(binaries.find(binaries.NATS, "")), "-c", str(self.folder / "nats.conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def cut_off(self) -> None:
        """Pull its cable: clients and the other servers get no answer from it, not even a refusal."""
        _run("ip", "link", "set", self.link, "down")

    def plug_in(self) -> None:
        _run("ip", "link", "set", self.link, "up")

    def lose_sight_of(self, others: list[Node]) -> None:
        """Drop what these servers and it send to each other; clients still reach all of them."""
        for other in others:
            _run(*self.place, "ip", "route", "add", "blackhole", f"{other.address}/32")
            _run(*other.place, "ip", "route", "add", "blackhole", f"{self.address}/32")

    def see_again(self, others: list[Node]) -> None:
        for other in others:
            _run(*self.place, "ip", "route", "del", "blackhole", f"{other.address}/32")
            _run(*other.place, "ip", "route", "del", "blackhole", f"{self.address}/32")


@dataclass
class Cluster:
    """Three nodes."""

    nodes: list[Node]
    bridge: str = ""
    namespaces: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def stop(self) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.kill()
        for namespace in self.namespaces:
            _run("ip", "netns", "del", namespace)
        if self.bridge:
            _run("ip", "link", "del", self.bridge)


def start_cluster(folder: Path, *, sync: str = "always", number: int = 0) -> Cluster:
    """Start three servers and return; they need some seconds to elect leaders. number: of clusters side by side."""
    cluster = _in_namespaces(folder, number) if CAN_CUT else _on_loopback(folder, number)
    try:
        for node in cluster.nodes:
            routes = ", ".join(f'"nats://{one.address}:{one.route_port}"' for one in cluster.nodes)
            node.folder.mkdir(parents=True)
            configuration = _CONFIGURATION.format(
                name=node.name,
                address=node.address,
                client_port=node.client_port,
                route_port=node.route_port,
                folder=node.folder,
                routes=routes,
                sync=sync,
            )
            (node.folder / "nats.conf").write_text(configuration, encoding="utf-8")
            node.start()
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _in_namespaces(folder: Path, number: int) -> Cluster:
    key = f"{os.getpid() % 100_000}{number}"
    net = f"10.{77 + os.getpid() % 100}.{number}"
    cluster = Cluster([], bridge=f"tdb{key}")
    _run("ip", "link", "add", cluster.bridge, "type", "bridge")
    try:
        _run("ip", "addr", "add", f"{net}.254/24", "dev", cluster.bridge)
        _run("ip", "link", "set", cluster.bridge, "up")
        for place in (1, 2, 3):
            namespace, outer, inner = f"tdn{key}{place}", f"tdo{key}{place}", f"tdi{key}{place}"
            _run("ip", "netns", "add", namespace)
            cluster.namespaces.append(namespace)
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            _run("ip", "link", "set", outer, "master", cluster.bridge, "up")
            inside = ("ip", "netns", "exec", namespace)
            _run(*inside, "ip", "addr", "add", f"{net}.{place}/24", "dev", inner)
            _run(*inside, "ip", "link", "set", inner, "up")
            _run(*inside, "ip", "link", "set", "lo", "up")
            name = f"n{place}"
            cluster.nodes.append(
                Node(name, f"{net}.{place}", CLIENT_PORT, ROUTE_PORT, folder / name, inside, link=outer)
            )
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _on_loopback(folder: Path, number: int) -> Cluster:
    base = 24_000 + (os.getpid() * 10 + number * 100) % 5_000
    nodes = [
        Node(f"n{place}", f"127.0.0.{place + 1}", base + place, base + 10 + place, folder / f"n{place}", ())
        for place in (1, 2, 3)
    ]
    return Cluster(nodes)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
