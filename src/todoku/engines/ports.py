"""Who listens on a port, read from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a listening socket; pid 0 and command "" when we may not see it."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})" if self.pid else "a process that we may not look at"


def listener(port: int) -> Owner | None:
    """Return who listens on this TCP port on any address, None when nobody does."""
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            inodes |= listening_inodes(Path(table).read_text(encoding="ascii"), port)
        except FileNotFoundError:
            continue
    return _holder(inodes) if inodes else None


def listening_inodes(table: str, port: int) -> set[str]:
    """Return the socket numbers that listen on the port, from the text of /proc/net/tcp or tcp6 (proc(5))."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            found.add(fields[9])
    return found


def is_below(pid: int, ancestor: int) -> bool:
    """Tell whether the process is the ancestor or descends from it."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        pid = int(status.rpartition(")")[2].split()[1])  # the name in brackets may hold anything
    return False


def _holder(inodes: set[str]) -> Owner:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(_target(entry) in wanted for entry in (process / "fd").iterdir()):
                return Owner(int(process.name), _command(process))
        except OSError:
            continue  # ended meanwhile, or another user's
    return Owner(0, "")


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""


def _command(process: Path) -> str:
    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return words if len(words) <= 80 else words[:77] + "..."
