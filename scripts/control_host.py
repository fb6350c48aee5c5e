"""The control process: `python -m scripts.control_host`, started by `robot.control_client`.

Not for people. It opens the arms of a rig, starts the guard before any torque, and hosts the loop
until its session says good-bye or is gone. Nothing here imports what belongs to the session:
neither cameras nor datasets nor policies.
"""

import argparse
import os
import signal
import sys
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from robot.arm import Follower, Leader
from robot.arm_pair import ArmPair
from robot.bus import ServoBus
from robot.calibration_store import stored_calibration
from robot.clock import MonotonicClock
from robot.control import ControlHost
from robot.control_log import ControlLog
from robot.devices import open_devices
from robot.errors import So101Error
from robot.guard_link import GuardedClock, GuardLink
from robot.health import HealthMonitor
from robot.health_rules import VoltageBands, voltage_bands
from robot.hosted import Hosted, Surroundings
from robot.joint_sample import JointSample
from robot.joints import SERVO_IDS
from robot.limits import GoalLimiter
from robot.messages import HELD, LET_GO, REFUSED, Facts, Failure, Refused
from robot.port import ServoPort
from robot.posix_line import PosixLine
from robot.realtime import go_realtime
from robot.registers import MAX_VOLTAGE_LIMIT, NAMES
from robot.rest import RestGoals
from robot.rig import RigProfile, load_rig
from robot.run_folder import RunLog
from robot.session_pulse import SessionPulse
from robot.streams import ControlStreams
from robot.torque import release_torque
from teleop.leader import LeaderGoals

GAINS = ("P_Coefficient", "I_Coefficient", "D_Coefficient")
REFUSE_WITHIN_S = 5.0  # how long the session may take to ask why nothing was opened
ENDING_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTSTP,
)


@dataclass
class Signals:
    """How often the process was told to end; the second time the arm is let go at once."""

    count: int = 0

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Take note."""
        self.count += 1


@dataclass(frozen=True)
class Options:
    """What the session has said on the command line."""

    rig: Path
    source: str
    folder: Path
    pulse_fd: int
    parent: int
    twin_pid: int | None


def main(arguments: list[str]) -> int:
    """Open, host, let go."""
    options = _options(arguments)
    signals = Signals()
    for number in ENDING_SIGNALS:
        signal.signal(number, signals.on_signal)
    with ExitStack() as stack:
        session = SessionPulse(options.pulse_fd, options.parent)
        profile = load_rig(options.rig)
        streams = ControlStreams(options.folder, profile.control_rate_hz)
        stack.callback(streams.close)
        guard = GuardLink.start(options.folder)
        stack.callback(guard.close)
        clock = GuardedClock(guard)
        path = options.folder / "control.log"
        # Written by another thread, which must not beat the guard: a clock of its own.
        log = ControlLog(RunLog(path, "control", str(os.getpid()), MonotonicClock()))
        stack.callback(log.close)
        ports: list[ServoBus] = []  # of the follower
        try:
            hosted = _open(options, profile, clock, guard, ports, stack)
        except So101Error as error:
            held = [torque for torque in map(release_torque, ports) if not torque.is_off]
            if not held:
                guard.say_goodbye()
            _refuse(Failure.of(error), streams, session, clock)
            return HELD if held else REFUSED
        around = Surroundings(streams, session, guard, clock, log)
        return _host(hosted, around, signals)


def _host(hosted: Hosted, around: Surroundings, signals: Signals) -> int:
    """Host until the end; a good-bye to the guard only when nothing is left to guard."""
    host = ControlHost(hosted, around, lambda: signals.count)
    try:
        host.run()
    except Exception:  # noqa: BLE001 - a defect: the arm is released by now, and the session told
        around.log.event("defect", around.clock.now_s(), details=traceback.format_exc())
        traceback.print_exc()
    if not host.is_released:
        return HELD
    around.guard.say_goodbye()
    return LET_GO


def _open(
    options: Options,
    profile: RigProfile,
    clock: GuardedClock,
    guard: GuardLink,
    ports: list[ServoBus],
    stack: ExitStack,
) -> Hosted:
    """Open, check and configure the arms; become real-time once nothing has to be loaded.

    The follower's bus is put into `ports` when it is open: an error may leave an arm behind it.
    """
    devices = open_devices(profile, options.twin_pid)

    def open_follower_bus() -> ServoBus:
        """Open the follower's port; the guard gets it before anything is powered through it."""
        guard.forget()
        path = devices.port_path(profile.follower.port)
        port = ServoPort.open(path, clock)
        line = port.ser
        assert isinstance(line, PosixLine), "a port opened by path is a device of this machine"
        guard.watch(path, line.fileno())
        return ServoBus(port, clock)

    leader: Leader | None = None
    if options.source == "leader":
        bus = ServoBus(ServoPort.open(devices.port_path(profile.leader.port), clock), clock)
        stack.callback(bus.close)
        leader = Leader.open(bus, stored_calibration(profile, "leader"))
    ports.append(open_follower_bus())
    follower = Follower.open(
        ports[0], stored_calibration(profile, "follower"), clock, open_follower_bus
    )
    stack.callback(lambda: follower.bus.close())  # noqa: PLW0108 - the bus that it has then
    pair = None if leader is None else ArmPair(leader, follower)
    limiter = GoalLimiter(
        follower.calibration,
        rate_hz=profile.control_rate_hz,
        max_speed_deg_s=profile.max_speed_deg_s,
        table_height_m=profile.table_height_m,
    )
    return Hosted(
        arm=follower if pair is None else pair,
        leader=None if pair is None else LeaderGoals(_LeaderOf(pair)),
        monitor=HealthMonitor(_voltage_bands(follower)),
        limiter=limiter,
        new_rest=lambda: RestGoals(
            follower.calibration,
            lambda: limiter.last_sent_deg,
            profile.rest_deg,
            profile.table_height_m,
        ),
        rate_hz=profile.control_rate_hz,
        facts=_facts(follower, leader, guard),
    )


def _voltage_bands(follower: Follower) -> VoltageBands:
    """Return what the supply may do: the servos know whether they are made for 7.4 or 12 V."""
    limits_v = [follower.bus.read(i, MAX_VOLTAGE_LIMIT) / 10 for i in SERVO_IDS]
    return voltage_bands(min(limits_v))


def _facts(follower: Follower, leader: Leader | None, guard: GuardLink) -> Facts:
    """Return what the session has to know; the last before real time, for nothing loads after."""
    low_deg, high_deg = follower.calibration.range_deg
    gains = {name: [follower.bus.read(i, NAMES[name]) for i in SERVO_IDS] for name in GAINS}
    follower.clock.now_s()  # beats the guard: what comes takes its time and asks for none
    realtime = go_realtime()
    follower.clock.now_s()
    return Facts(
        control_pid=os.getpid(),
        guard_pid=guard.pid,
        follower_sha256=follower.calibration.sha256,
        leader_sha256="" if leader is None else leader.calibration.sha256,
        low_deg=low_deg,
        high_deg=high_deg,
        gains=gains,
        realtime=realtime,
    )


@dataclass(frozen=True)
class _LeaderOf:
    """The leader as it was read together with the follower."""

    pair: ArmPair

    def read(self) -> JointSample:
        """Return the sample of the tick under way."""
        return self.pair.read_leader()


def _refuse(
    failure: Failure, streams: ControlStreams, session: SessionPulse, clock: GuardedClock
) -> None:
    """Tell the session why nothing was opened, if it asks in time."""
    deadline_s = clock.now_s() + REFUSE_WITHIN_S
    while (now_s := clock.now_s()) < deadline_s and not session.is_gone:
        session.silence_s(now_s)
        if (asked := streams.next_request(now_s)) is not None:
            asked.answer(Refused(failure))
            return
        clock.sleep_until(now_s + 0.01)


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="control_host")
    parser.add_argument("--rig", type=Path, required=True)
    parser.add_argument("--source", choices=("leader", "session"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--pulse-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--twin-pid", type=int)
    given = parser.parse_args(arguments)
    return Options(
        given.rig, given.source, given.folder, given.pulse_fd, given.parent, given.twin_pid
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
