"""The twin in real time: arms on serial device names, cameras on local addresses.

One process, one loop: wait for bytes on either pty, step the world to the present millisecond,
answer. Physics that cannot keep up loses time (counted in the status) instead of answering ever
later. Rendering is in a child (`camera_process`).
"""

import contextlib
import gc
import os
import select
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType

import msgspec
import zmq

from robot.clock import Clock, MonotonicClock
from robot.errors import ConfigError, StorageFull
from robot.rig import RigProfile
from robot.run_folder import SCHEMA, PortEntry, RunLog, TwinManifest, open_run_folder
from sim.camera_process import CameraProcess, camera_process_ended
from sim.faults import Fault
from sim.hands import Hand
from sim.pty_port import PtyPort
from sim.twin_control import DirectControl, answer
from sim.twin_core import ArmName, HandName, Twin, check_profile

TURN_S = 0.002  # longest wait: the world is never more than two steps behind when a request arrives
MAX_BATCH_S = 0.02  # stepped at a stretch when behind; the ptys are served in between
MAX_LAG_S = 0.2  # beyond this the world lets time go
HOUSEKEEPING_S = 1.0  # EEPROM to disk, is the camera process alive
# What ends it: Ctrl-\\ and Ctrl-Z of a terminal, too. A core dump or a stopped twin would leave its
# cameras and a bus that no longer answers behind.
_SIGNALS = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP
)  # fmt: skip


@dataclass(frozen=True)
class TwinOptions:
    """How to run a twin."""

    leader_hand: HandName = "none"
    recorded_hand: Hand | None = None  # takes the leader instead of `leader_hand`
    is_paced: bool = False  # replies take the time of a 1 Mbps wire
    duration_s: float | None = None
    until_stdin_closes: bool = False
    faults: tuple[tuple[ArmName, Fault], ...] = ()  # from the first moment on


@dataclass
class _Stop:
    """Why the twin ends; empty while it runs."""

    reason: str = ""


def run_twin(
    profile: RigProfile, options: TwinOptions, announce: Callable[[TwinManifest], None]
) -> str:
    """Run a twin until it is told to stop; returns why it stopped.

    Ends by a signal (`_SIGNALS`), after `duration_s`, or at the end of standard input, as `options`
    say. Everything it made is gone afterwards; the servos' EEPROM is on disk.

    Args:
        profile: the rig, with its twin.
        options: how to run it.
        announce: told once where everything is.

    Raises:
        ConfigError: the profile asks for what the twin does not have.
        NotConnected: the camera process did not start or ended.
        StorageFull, ConfigError: the EEPROM could not be kept.
    """
    clock = MonotonicClock()
    with ExitStack() as stack, _stopped_by_signals() as stop:
        check_profile(profile)  # first: nothing is made for a profile that is refused
        folder = stack.enter_context(open_run_folder(profile.name))
        log = folder.open_log("twin", clock)
        stack.callback(log.close)
        cameras = stack.enter_context(CameraProcess(profile.cameras)) if profile.cameras else None
        twin = Twin(profile)  # while the cameras start
        entries = {} if cameras is None else cameras.wait_ready()
        ports: dict[ArmName, PtyPort] = {
            arm: PtyPort(injector.bank, is_paced=options.is_paced, faults=injector)
            for arm, injector in twin.faults.items()
        }
        for port in ports.values():
            stack.callback(port.close)
        control = stack.enter_context(_control_socket(f"ipc://{folder.path / 'control'}"))
        manifest = TwinManifest(
            schema=SCHEMA,
            rig=profile.name,
            pid=os.getpid(),
            control=f"ipc://{folder.path / 'control'}",
            **_entries(ports),
            cameras=entries,
        )

        def tell_ports() -> None:
            log.event("ports", **{arm: port.path for arm, port in ports.items()})
            folder.write_manifest(msgspec.structs.replace(manifest, **_entries(ports)))

        server = _TwinServer(twin, ports, tell_ports, control, cameras, log, clock)
        server.start(profile, options)
        tell_ports()
        announce(manifest)
        stack.callback(server.keep_eeprom)
        server.run(stop, options)
        log.event("stopped", reason=stop.reason, lost_s=twin.lost_s)
    return stop.reason


class _TwinServer:
    """The loop, and what it serves."""

    def __init__(
        self,
        twin: Twin,
        ports: dict[ArmName, PtyPort],
        tell_ports: Callable[[], None],
        control: "zmq.Socket[bytes]",
        cameras: CameraProcess | None,
        log: RunLog,
        clock: Clock,
    ) -> None:
        self._twin = twin
        self._ports = ports
        self._tell_ports = tell_ports
        self._control = control
        self._cameras = cameras
        self._log = log
        self._clock = clock
        self._direct = DirectControl(twin)
        self._housekeeping_s = clock.now_s() + HOUSEKEEPING_S

    def start(self, profile: RigProfile, options: TwinOptions) -> None:
        """Bring the world to the present and give the leader into its first hand."""
        twin = self._twin
        twin.start_now(self._clock.now_s())
        if options.recorded_hand is not None:
            twin.give_hand("leader", options.recorded_hand)
        elif options.leader_hand != "none":
            twin.set_hand("leader", options.leader_hand, profile.twin.seed if profile.twin else 0)
        if self._cameras is not None:
            for name, camera in profile.cameras.items():
                twin.add_camera(camera.fps, partial(self._cameras.expose, name))
        for arm, fault in options.faults:
            self._direct.inject(fault, arm)
        gc.collect()
        gc.freeze()
        gc.disable()  # until the end of `run`: no pauses while somebody waits for an answer

    def run(self, stop: _Stop, options: TwinOptions) -> None:
        """Serve until there is a reason to stop."""
        stdin = [sys.stdin.fileno()] if options.until_stdin_closes else []
        end_s = (
            float("inf") if options.duration_s is None else self._clock.now_s() + options.duration_s
        )
        try:
            while not stop.reason:
                plugged = [port for port in self._ports.values() if port.path]
                ready = select.select([*plugged, *stdin], [], [], self._wait_s())[0]
                now_s = self._clock.now_s()
                self._step_to(now_s)
                for port in plugged:
                    if port in ready or port.due_s is not None:
                        port.serve_ready(self._clock.now_s())
                self._follow_cables(now_s)
                if self._control.poll(0):
                    self._control.send(answer(self._direct, self._control.recv()))
                if now_s >= self._housekeeping_s:
                    self._keep_house(now_s)
                if now_s >= end_s:
                    stop.reason = "duration"
                elif stdin and stdin[0] in ready and not os.read(stdin[0], 4096):
                    stop.reason = "standard input closed"
        finally:
            gc.enable()
            gc.unfreeze()

    def keep_eeprom(self) -> None:
        """Write the EEPROM if it changed."""
        if self._twin.save_eeproms():
            self._log.event("eeprom saved")

    def _wait_s(self) -> float:
        """Return how long the loop may sleep: a turn, less what a held-back reply asks for."""
        now_s = self._clock.now_s()
        wait_s = TURN_S - (now_s - self._twin.now_s)
        for port in self._ports.values():
            if port.due_s is not None:
                wait_s = min(wait_s, port.due_s - now_s)
        return max(wait_s, 0.0)

    def _follow_cables(self, now_s: float) -> None:
        """Let ptys come and go with their adapters; the manifest says at once where they are."""
        if any([port.follow_cable(now_s) for port in self._ports.values()]):  # noqa: C419 - all
            try:
                self._tell_ports()
            except (StorageFull, ConfigError) as error:
                self._log.event("ports not written", reason=str(error))

    def _step_to(self, now_s: float) -> None:
        lag_s = now_s - self._twin.now_s
        if lag_s > MAX_LAG_S:
            self._twin.lose_time(lag_s)
            self._log.event("lost time", lost_s=lag_s)
        else:
            self._twin.advance(min(now_s, self._twin.now_s + MAX_BATCH_S))

    def _keep_house(self, now_s: float) -> None:
        self._housekeeping_s = now_s + HOUSEKEEPING_S
        try:
            self.keep_eeprom()
        except (StorageFull, ConfigError) as error:
            # The arm goes on; the end of the run tries again and then says so.
            self._log.event("eeprom not saved", reason=str(error))
        if self._cameras is not None and not self._cameras.is_alive:
            raise camera_process_ended()


def _entries(ports: dict[ArmName, PtyPort]) -> dict[str, PortEntry]:
    return {arm: PortEntry(port.path) for arm, port in ports.items()}


@contextmanager
def _control_socket(address: str) -> "Generator[zmq.Socket[bytes]]":
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.REP)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(address)
        yield socket
    finally:
        socket.close(linger=0)
        context.term()


@contextmanager
def _stopped_by_signals() -> Generator[_Stop]:
    """Turn the signals that end a program into a reason to stop; a second one changes nothing."""
    stop = _Stop()

    def note(number: int, _: FrameType | None) -> None:
        stop.reason = stop.reason or signal.Signals(number).name

    previous = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            with contextlib.suppress(TypeError):  # None: not set from Python
                signal.signal(number, handler)
