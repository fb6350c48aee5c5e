"""What a measurement ran on: the machine, its load, and what every process of a run cost.

Read from /proc, so Linux only; what a container hides is left out rather than guessed.
"""

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import msgspec

from benchmarks.child import ROOT

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PACKAGES = ("lerobot", "feetech-servo-sdk", "rustypot", "pyserial", "pyzmq", "numpy")


class Machine(msgspec.Struct, frozen=True):
    """The machine and the versions."""

    cpu: str
    cores: int
    kernel: str
    python: str
    versions: dict[str, str]
    commit: str  # of this project, "+" when files were changed since; empty outside a checkout


class CpuTimes(msgspec.Struct, frozen=True):
    """Whole-machine processor time since its start, in seconds."""

    total_s: float
    idle_s: float
    steal_s: float  # taken by the host of a virtual machine


class MachineLoad(msgspec.Struct, frozen=True):
    """What else went on during a measurement."""

    busy_share: float  # of all cores, everything included
    steal_share: float
    load_average: float  # of the last minute, at the end


def describe_machine() -> Machine:
    """Describe this machine."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    versions: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        versions=versions,
        commit=_commit(),
    )


def cpu_times() -> CpuTimes:
    """Read the first line of /proc/stat: user nice system idle iowait irq softirq steal ..."""
    counts = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user_to_steal = counts[:8]  # guest times are contained in user and nice
    return CpuTimes(
        total_s=sum(user_to_steal) * _TICK_S,
        idle_s=(counts[3] + counts[4]) * _TICK_S,
        steal_s=(counts[7] if len(counts) > 7 else 0) * _TICK_S,
    )


def load_between(before: CpuTimes, after: CpuTimes) -> MachineLoad:
    """Compare two readings."""
    total_s = max(after.total_s - before.total_s, _TICK_S)
    return MachineLoad(
        busy_share=1.0 - (after.idle_s - before.idle_s) / total_s,
        steal_share=(after.steal_s - before.steal_s) / total_s,
        load_average=os.getloadavg()[0],
    )


class ProcessCost(msgspec.Struct, frozen=True):
    """Processor time of one process so far, its threads included."""

    name: str
    cpu_s: float
    is_fifo: bool = False  # at least one of its threads has real-time priority


def process_costs(root_pid: int) -> dict[int, ProcessCost]:
    """Return what a process and all its descendants have used; the ones that ended are not there.

    A descendant that made a process session of its own still counts: parents are followed.
    """
    parents: dict[int, int] = {}
    costs: dict[int, ProcessCost] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        name = process_name([word.decode(errors="replace") for word in words])
        cpu_s = (int(fields[11]) + int(fields[12])) * _TICK_S
        costs[pid] = ProcessCost(name, cpu_s, _has_realtime_thread(entry))
    mine = {root_pid}
    while True:
        more = {pid for pid, parent in parents.items() if parent in mine} - mine
        if not more:
            return {pid: costs[pid] for pid in mine if pid in costs}
        mine |= more


def _has_realtime_thread(process: Path) -> bool:
    """Look at the scheduling policy of each thread: field 41 of its stat, 1 for SCHED_FIFO."""
    for stat in process.glob("task/*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[38]) == os.SCHED_FIFO:
                return True
    return False


def process_name(words: list[str]) -> str:
    """Name a process by the module or command it runs."""
    if "-m" in words[:-1]:
        at = words.index("-m") + 1
        following = words[at + 1] if len(words) > at + 1 else ""
        return words[at] + (f" {following}" if following.isalpha() else "")
    scripts = [Path(word).name for word in words[:4] if word.endswith(".py")]
    return scripts[0] if scripts else Path(words[0]).name


def cost_between(before: dict[int, ProcessCost], after: dict[int, ProcessCost]) -> dict[str, float]:
    """Return the processor seconds of each name; several processes of one name are added up."""
    used: dict[str, float] = {}
    for pid, cost in after.items():
        earlier = before.get(pid)
        seconds = cost.cpu_s - (earlier.cpu_s if earlier else 0.0)
        used[cost.name] = used.get(cost.name, 0.0) + seconds
    return used


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if commit and git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""
