"""Two emulated arms on ptys in a process of their own, without a world: the hardware of a test.

`python -m sim.mock_bus` says where they are in one line of JSON and serves until its standard input
ends. Replies take the time of a 1 Mbps wire. The follower's shafts are inertia and friction, the
leader's follow a script. It notes when each goal packet had come, when the script changed what the
leader reads, and how far its own pacing was off, so that whoever measures a control loop reads the
loop from its effect on the servos and can tell the emulator's share. Being a run folder with a
manifest, it is a twin to `Devices`: `twin:follower` finds it, also after an adapter was pulled.

It waits in `select` until shortly before a deadline and watches the clock only for the rest.
"""

import gc
import math
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tyro

from robot.clock import Clock, MonotonicClock
from robot.errors import So101Error
from robot.joints import SERVO_IDS
from robot.parent_death import die_with_parent
from robot.registers import GOAL_POSITION, NAMES
from robot.run_folder import SCHEMA, PortEntry, RunFolder, TwinManifest, open_run_folder
from robot.terminal_signals import leave_terminal_to_parent
from sim import mock_messages as messages
from sim.faults import ArmName
from sim.free_shafts import FreeShafts
from sim.mock_arms import LeaderScript, goal_ticks, new_bank
from sim.protocol import Instruction, RequestParser
from sim.protocol import Request as Packet
from sim.pty_port import PtyPort
from sim.servo import BITS_A_BYTE, ServoBank

BYTE_S = BITS_A_BYTE / 1_000_000
# A sleep ends 30..80 us late on the machine of docs/measurements.md: it wakes so long before a
# reply is due, and watches the clock for the rest.
EARLY_S = 80e-6
TURN_S = 0.02  # longest sleep: faults begin and end, shafts turn
KEPT = 500_000  # goals, reads and answers noted at most: more than an hour at 100 Hz
FIFO_PRIORITY = 90  # above any loop under test: a servo waits for nobody's turn


@dataclass
class Args:
    """How to run the mock bus."""

    name: str = "mock"
    """Name of the rig in the manifest, for `twin:` addresses of a profile of that name."""
    leader_calibration: Path | None = None
    """LeRobot calibration file (JSON) that the leader's servos hold; else factory values."""
    follower_calibration: Path | None = None
    """The same for the follower."""
    fifo: bool = False
    """Run with real-time priority where permitted."""
    per_packet: bool = False
    """Hand each servo's reply over by itself, not all replies to one request together."""


class MockBus:
    """The loop, and what it serves; single-threaded."""

    def __init__(self, args: Args, clock: Clock, tell_paths: Callable[[], None]) -> None:
        self._clock = clock
        self._tell_paths = tell_paths
        now_s = clock.now_s()
        self._banks: dict[ArmName, ServoBank] = {
            "leader": new_bank(args.leader_calibration, is_leader=True),
            "follower": new_bank(args.follower_calibration, is_leader=False),
        }
        self._shafts = FreeShafts(self._banks["follower"], now_s)
        self._hand = LeaderScript(self._banks["leader"])
        self.ports: dict[ArmName, PtyPort] = {
            arm: PtyPort(bank, is_batched=not args.per_packet) for arm, bank in self._banks.items()
        }
        self._parsers: dict[ArmName, RequestParser] = {}
        self._pacing_s: deque[float] = deque(maxlen=KEPT)
        for port in self.ports.values():
            port.on_sent = self._pacing_s.append
        self.ports["leader"].on_heard = self._hear_leader
        self.ports["follower"].on_heard = self._hear_follower
        self._begin()

    def run(self, command: int) -> None:
        """Serve until the command stream ends."""
        pending = b""
        try:
            while True:
                plugged = [port for port in self.ports.values() if port.path]
                watched: list[PtyPort | int] = [*plugged, command]
                ready = select.select(watched, [], [], self._wait_s())[0]
                self._serve(plugged, ready)
                if command in ready:
                    chunk = os.read(command, 1 << 16)
                    if not chunk:
                        return
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        _say(self._answer(line))
        finally:
            for port in self.ports.values():
                port.close()

    def _serve(self, plugged: list[PtyPort], ready: Sequence[PtyPort | int]) -> None:
        """Move the arms to the present, hear what came, send what is due."""
        now_s = self._clock.now_s()
        self._shafts.advance(now_s)
        self._hand.advance(now_s)
        for port in plugged:
            if port in ready:
                port.serve_ready(now_s)
        while (due_s := self._due_s()) - self._clock.now_s() <= EARLY_S:
            while (now_s := self._clock.now_s()) < due_s:
                pass  # for EARLY_S at most
            for port in plugged:
                if port.due_s is not None:
                    port.serve_ready(now_s)
        if any([port.follow_cable(now_s) for port in self.ports.values()]):  # noqa: C419 - all
            self._tell_paths()

    def _due_s(self) -> float:
        return min((p.due_s for p in self.ports.values() if p.due_s is not None), default=math.inf)

    def _wait_s(self) -> float:
        now_s = self._clock.now_s()
        wake_s = min(self._due_s() - EARLY_S, self._hand.due_s, now_s + TURN_S)
        return max(0.0, wake_s - now_s)

    # -- what is noted -------------------------------------------------------------------------

    def _begin(self) -> None:
        self._began_s = self._clock.now_s()
        self._cpu_s = time.process_time()
        self._goals: deque[messages.Goal] = deque(maxlen=KEPT)
        self._reads_s: deque[float] = deque(maxlen=KEPT)
        self._pacing_s.clear()
        self._hand.changes.clear()

    def _hear_leader(self, end_s: float, data: bytes) -> None:
        for time_s, packet in self._packets("leader", end_s, data):
            if packet.instruction == Instruction.SYNC_READ:
                self._reads_s.append(time_s)

    def _hear_follower(self, end_s: float, data: bytes) -> None:
        for time_s, packet in self._packets("follower", end_s, data):
            if packet.instruction == Instruction.SYNC_WRITE:
                address, size, *_ = packet.parameters
                if address == GOAL_POSITION.address and size == GOAL_POSITION.size:
                    self._goals.append(messages.Goal(time_s, goal_ticks(packet.parameters[2:])))

    def _packets(self, arm: ArmName, end_s: float, data: bytes) -> list[tuple[float, Packet]]:
        """Return the packets that end in `data`, each with the time of its last byte."""
        found: list[tuple[float, Packet]] = []
        behind = 0
        for packet in reversed(self._parsers.setdefault(arm, RequestParser()).feed(data, end_s)):
            found.append((end_s - behind * BYTE_S, packet))
            behind += len(packet.parameters) + 6
        return found[::-1]

    # -- what it is told -----------------------------------------------------------------------

    def _answer(self, line: bytes) -> msgspec.Struct:
        now_s = self._clock.now_s()
        try:
            request: messages.Request = _REQUEST.decode(line)
        except msgspec.DecodeError as error:
            return messages.Done(now_s, f"the mock bus does not understand this: {error}")
        match request:
            case messages.Begin():
                self._begin()
                return messages.Done(self._began_s)
            case messages.Move():
                self._hand.move(request, now_s)
            case messages.Inject(fault=fault, arm=arm):
                self.ports[arm].faults.add(fault)
                self.ports[arm].faults.advance(now_s)
            case messages.ClearFaults():
                for port in self.ports.values():
                    port.faults.clear()
            case messages.Stamp(is_on=is_on):
                for bank in self._banks.values():
                    bank.stamp(is_on=is_on)
            case messages.AskRegisters(arm=arm, name=name):
                if name not in NAMES:
                    return messages.Registers([], f"there is no register '{name}'")
                counts = [self._banks[arm].register(i, NAMES[name]) for i in SERVO_IDS]
                return messages.Registers(counts)
            case messages.AskPaths():
                return messages.Paths(self.ports["leader"].path, self.ports["follower"].path)
            case messages.AskLog():
                return messages.Log(
                    began_s=self._began_s,
                    ended_s=now_s,
                    goals=list(self._goals),
                    changes=list(self._hand.changes),
                    leader_reads_s=list(self._reads_s),
                    pacing_s=list(self._pacing_s),
                    cpu_s=time.process_time() - self._cpu_s,
                )
        return messages.Done(now_s)


_REQUEST = msgspec.json.Decoder(messages.Request)


def _say(message: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _ask_for_fifo() -> bool:
    """Take real-time priority; tells whether it was permitted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except OSError:
        return False
    return True


def _announce(folder: RunFolder, name: str, ports: dict[ArmName, PtyPort]) -> None:
    entries = {arm: PortEntry(port.path) for arm, port in ports.items()}
    folder.write_manifest(
        TwinManifest(SCHEMA, name, os.getpid(), "", entries["leader"], entries["follower"], {})
    )


def main(args: Args) -> None:
    """Run a mock bus until standard input ends."""
    leave_terminal_to_parent()
    die_with_parent(os.getppid())
    with ExitStack() as stack:
        folder = stack.enter_context(open_run_folder(args.name))
        bus = MockBus(args, MonotonicClock(), lambda: _announce(folder, args.name, bus.ports))
        _announce(folder, args.name, bus.ports)
        is_fifo = args.fifo and _ask_for_fifo()
        ports = bus.ports
        _say(messages.Ready(ports["leader"].path, ports["follower"].path, os.getpid(), is_fifo))
        gc.collect()
        gc.freeze()
        gc.disable()  # no pauses while somebody waits for an answer
        bus.run(sys.stdin.fileno())


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except So101Error as error:
        sys.exit(f"mock bus: {error}")
