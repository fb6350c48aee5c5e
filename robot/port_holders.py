"""Which other programs have a serial device open, by process id and command line.

A lock keeps out those that ask for it, the exclusive mode all but root, and neither those that were
there before. An open handle shows them all, as far as this user may look (Linux's /proc).
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_COMMAND_CHARS = 120
_PTY_MAJORS = range(136, 144)


@dataclass(frozen=True, slots=True)
class Holder:
    """One program that has the device open."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def find_holders(path: str) -> tuple[Holder, ...]:
    """Return the programs that have a device open; not this one, its children, or the device.

    Takes tens of milliseconds: not for the control loop. Empty where there is no /proc, and for
    programs of another user, whom only root may look into.
    """
    try:
        device = os.stat(path)
    except OSError:
        return ()
    if not stat.S_ISCHR(device.st_mode):
        return ()
    own = os.getpid()
    return tuple(
        Holder(pid, _command(pid))
        for pid in _pids()
        if _has_open(pid, device)
        and not _is_or_descends_from(pid, own)
        and not _is_the_device(pid, device)
    )


def name_holders(holders: tuple[Holder, ...]) -> str:
    """Say who holds a device: "process 12 (python x.py) and process 13 (cat)"."""
    return " and ".join(str(holder) for holder in holders)


def _pids() -> list[int]:
    try:
        return sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    except OSError:
        return []


def _has_open(pid: int, device: os.stat_result) -> bool:
    folder = f"{_PROC}/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False  # gone meanwhile, or of another user
    for name in names:
        try:
            found = os.stat(f"{folder}/{name}")
        except OSError:
            continue
        # Ptys of two containers may have one number.
        is_same = os.major(device.st_rdev) not in _PTY_MAJORS or found.st_dev == device.st_dev
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == device.st_rdev and is_same:
            return True
    return False


def _is_the_device(pid: int, device: os.stat_result) -> bool:
    """Tell whether a program is what stands behind a pty: it holds the other end."""
    if os.major(device.st_rdev) not in _PTY_MAJORS:
        return False
    index = (os.major(device.st_rdev) - _PTY_MAJORS.start) * 256 + os.minor(device.st_rdev)
    folder = f"{_PROC}/{pid}/fdinfo"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            text = Path(folder, name).read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        if f"tty-index:\t{index}\n" in text:
            return True
    return False


def _is_or_descends_from(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = _parent(pid)
    return False


def _parent(pid: int) -> int:
    try:
        text = Path(f"{_PROC}/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])  # "pid (name) state parent"


def _command(pid: int) -> str:
    try:
        raw = Path(f"{_PROC}/{pid}/cmdline").read_bytes()
    except OSError:
        raw = b""
    words = raw.replace(b"\0", b" ").decode("utf-8", "replace").split()
    return " ".join(words)[:_COMMAND_CHARS] or "name unknown"
