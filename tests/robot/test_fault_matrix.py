"""Every fault of the mock bus, on an arm that stands, moves, or is recorded: what becomes of it.

In virtual time on the in-memory bus. Each row says how the drive has to end, within what time, and
which torque states may be told; the torque registers are read from the emulated servos themselves.
SO101_FAULT_TABLE=FILE writes the table of docs/fault-matrix.md.
"""

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from fault_rig import DRIVE_S, FAULT_AT_S, STATES, Outcome, fault_rig

from record.journal_reader import read_journal
from robot.errors import (
    JointLost,
    NotConnected,
    ServoFault,
    ServoTimeout,
    So101Error,
    StorageFull,
)
from robot.joints import JOINTS, SERVO_IDS
from robot.loop import Tick
from robot.registers import TORQUE_ENABLE
from robot.torque import TorqueState, TorqueStates
from sim.faults import parse_fault

ALL = frozenset(JOINTS)
GOES_ON = "goes on"
WALKS = "walks to rest"
SINKS = "sinks"
GONE = "not reachable"
COMES_BACK = "found again, walks to rest"
COMES_BACK_IN_PART = "found again, sinks"
# What may hold besides the faults.
UNSAVED = "with settings that power takes away"
ANOTHER = "then with another arm"

# From the fault to the last goal of the drive, seconds. A silent joint has half a second.
AT_ONCE_S = 0.1
SILENT_S = 0.65
# From that goal to the last read-back: freeze, walk of this start pose and release; a sinking arm
# takes 2 s, and six mute servos 0.55 s to be given up.
REST_S = 2.0
SINK_S = 2.8
# An encoder step is 0.09°, the world's a millisecond, at 40 °/s (pushed: 150 °/s).
FRESH_DEG = 0.4


@dataclass(frozen=True)
class Row:
    """One fault, or several joined by " + ", and what has to become of the drive."""

    fault: str
    ends: str
    error: type[So101Error] | None = None
    within_s: float = AT_ONCE_S  # of the fault, unless the drive goes on
    finds: frozenset[str] = frozenset()  # kinds of findings that have to be told
    may_find: frozenset[str] = frozenset()
    unreachable: frozenset[str] = frozenset()  # joints that may be told as not reachable
    drive_s: float = DRIVE_S
    says: str = ""
    besides: str = ""
    only: frozenset[str] = field(default_factory=lambda: frozenset(STATES))

    @property
    def name(self) -> str:
        """How it stands in the table."""
        return f"`{self.fault}` {self.besides}".strip()


def row(fault: str, ends: str, **more: object) -> Row:
    return Row(fault, ends, **more)  # type: ignore[arg-type]  # the table below reads better so


UNPLUGGED = (GONE, COMES_BACK, COMES_BACK_IN_PART)
NOISE = frozenset({"silence"})  # a burst of lost replies may make the arm wait a moment
ROWS = [
    # Bytes: single replies cost a sample of that joint, and nothing else.
    row("drop servo=3 count=1", GOES_ON),
    row("drop servo=3 count=5", GOES_ON, may_find=NOISE),
    row("drop probability=0.03", GOES_ON, may_find=NOISE),
    row("delay servo=2 count=1 delay=0.006", GOES_ON),
    row("delay servo=2 count=1", GOES_ON),
    row("delay probability=0.02 delay=0.025", GOES_ON, may_find=NOISE),
    row("stale servo=2 count=1", GOES_ON),
    row("stale probability=0.02", GOES_ON, may_find=NOISE),
    row("flip probability=0.03", GOES_ON, may_find=NOISE),
    row("insert probability=0.03", GOES_ON, may_find=NOISE),
    row("lose probability=0.03", GOES_ON, may_find=NOISE),
    row("truncate probability=0.03", GOES_ON, may_find=NOISE),
    row("length servo=4 count=3", GOES_ON, may_find=NOISE),
    row("length servo=4 value=6 is_well_formed=true count=3", GOES_ON, may_find=NOISE),
    row("deaf probability=0.03", GOES_ON, may_find=NOISE),
    row("echo", GOES_ON, may_find=NOISE),
    # One joint that is gone for good: the arm sinks, for nobody knows where it is.
    row(
        "drop servo=3", SINKS, error=JointLost, within_s=SILENT_S, finds=NOISE, says="elbow_flex",
        unreachable=frozenset({"elbow_flex"}),
    ),
    row(
        "mute servo=3", SINKS, error=JointLost, within_s=SILENT_S, finds=NOISE, says="elbow_flex",
        unreachable=frozenset({"elbow_flex"}),
    ),
    row("mute", SINKS, error=JointLost, within_s=SILENT_S, finds=NOISE, unreachable=ALL),
    row(
        "duplicate servo=2", SINKS, error=JointLost, within_s=SILENT_S, finds=NOISE,
        unreachable=frozenset({"shoulder_lift", "elbow_flex"}),
    ),
    row(
        "baud servo=4", SINKS, error=JointLost, within_s=SILENT_S, finds=NOISE, says="wrist_flex",
        unreachable=frozenset({"wrist_flex"}),
    ),
    row("error servo=3 error_bits=2", SINKS, error=JointLost, finds=frozenset({"sensor"})),
    # What a servo reports.
    row("error servo=3 error_bits=1 count=20", GOES_ON, finds=frozenset({"voltage"})),
    row(
        "error servo=3 error_bits=4", WALKS, error=ServoFault, within_s=0.2, finds=frozenset(),
        says="elbow_flex",
    ),
    row(
        "error servo=3 error_bits=8", WALKS, error=ServoFault, within_s=0.7,
        finds=frozenset({"current"}), says="elbow_flex",
    ),
    row(
        "error servo=3 error_bits=32", WALKS, error=ServoFault, within_s=0.7,
        finds=frozenset({"overload"}), says="elbow_flex",
    ),
    row("overload servo=3 forced=true count=1", GOES_ON, finds=frozenset({"overload"})),
    row("overload servo=6 forced=true count=1", GOES_ON, finds=frozenset({"overload"})),
    row(
        "overload servo=3 forced=true", WALKS, error=ServoFault, within_s=0.7,
        finds=frozenset({"overload"}), says="elbow_flex",
    ),
    row("overload servo=3", GOES_ON, finds=frozenset({"overload"})),
    row(
        "overheat servo=3 celsius_per_s=60", WALKS, error=ServoFault, within_s=1.0,
        finds=frozenset({"temperature"}), says="elbow_flex",
    ),
    row("push servo=4 torque=2.5 duration=1", GOES_ON, may_find=frozenset({"stall", "overload"})),
    row("voltage", WALKS, error=ServoFault, within_s=0.6, finds=frozenset({"voltage"})),
    # Power and plugs.
    row("brownout servo=3", GOES_ON, finds=frozenset({"power"}), may_find=NOISE),
    row("brownout", GOES_ON, finds=frozenset({"power"}), may_find=NOISE),
    row("brownout duration=0.05", GOES_ON, finds=frozenset({"power"}), may_find=NOISE),
    row(
        "brownout servo=3 duration=2", SINKS, error=JointLost, within_s=SILENT_S, finds=NOISE,
        unreachable=frozenset({"elbow_flex"}),
    ),
    row(
        "brownout servo=3", SINKS, besides=UNSAVED, error=JointLost, within_s=0.5,
        finds=frozenset(), says="came back with other settings",
    ),
    row("unplug", GONE, error=NotConnected, unreachable=ALL, says="went away"),
    row("unplug duration=0.8", COMES_BACK, error=NotConnected, says="went away"),
    row(
        "unplug duration=0.8 + mute servo=3", COMES_BACK_IN_PART, error=NotConnected,
        says="went away", unreachable=frozenset({"elbow_flex"}),
    ),
    row(
        "unplug duration=0.8 + drop servo=3 count=6", COMES_BACK, error=NotConnected,
        says="went away",
    ),
    row(
        "unplug duration=0.8", GONE, besides=ANOTHER, error=NotConnected, says="went away",
        unreachable=ALL,
    ),
    # The other arm: the follower is well, and walks.
    row("mute servo=2 arm=leader", WALKS, error=ServoTimeout, within_s=SILENT_S + 0.1,
        says="leader"),
    row("unplug arm=leader", WALKS, error=NotConnected),
    row("drop probability=0.03 arm=leader", GOES_ON),
]  # fmt: skip

TABLE: list[str] = []
HEADER = """# The fault matrix

Every fault of the mock bus, on an arm that stands (idle), moves, or is recorded, in virtual time
on the in-memory bus with MuJoCo under it. Written by `SO101_FAULT_TABLE=docs/fault-matrix.md
.venv/bin/python -m pytest tests/robot/test_fault_matrix.py`; the test holds each row, and
compares every sample with where the joint was at the sample's time. Faults are written as `so101
twin --fault` takes them (`so101 twin --help`). *Stops*: from the fault to the last goal of the
drive. *Released*: from there to the last read-back, the walk to rest of this start pose (0.2 s of
standing still included), the 2 s of sinking or the 2 s of search included. *Registers*:
Torque_Enable of servos 1 to 6, read from the emulated servos themselves 50 ms afterwards. A mute
servo hears and obeys: its register is 0, but nobody can know.

| fault | arm | the drive | stops | released | findings | torque told | registers |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


@pytest.fixture(scope="module", autouse=True)
def table() -> Generator[None]:
    yield
    path = os.environ.get("SO101_FAULT_TABLE")
    if path:
        lines = sorted(TABLE, key=lambda line: int(line.split("|")[0]))
        rows = "\n".join("|" + line.split("|", 1)[1] for line in lines)
        Path(path).write_text(HEADER + rows + "\n")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace("`", "").replace(" ", "_"))
def test_fault(row: Row, state: str, tmp_path: Path) -> None:
    arms, faults = zip(*map(parse_fault, row.fault.split(" + ")), strict=True)
    with fault_rig(state, tmp_path) as rig:
        rest_took_s = SINK_S if row.ends in (SINKS, COMES_BACK_IN_PART) else REST_S
        if row.ends in UNPLUGGED:
            rest_took_s += 2.0
        if row.besides == UNSAVED:
            rig.leave_unsaved(3)
        rig.comes_back_as_another = row.besides == ANOTHER
        outcome = rig.run(*faults, on_leader="leader" in arms, drive_s=row.drive_s)
    note(row, state, outcome)

    check_error(row, outcome)
    check_time(row, outcome, rest_took_s)
    check_ending(row, outcome)
    check_torque(row, outcome)
    check_goals(outcome)
    assert row.finds <= outcome.kinds <= row.finds | row.may_find | also_found(row)
    # Whatever the wire did, no sample shows anything but where the joint was at the sample's time.
    assert outcome.truth_error_deg < FRESH_DEG
    if outcome.journal is not None:
        journal = read_journal(outcome.journal)
        driven = [tick for tick in outcome.ticks if tick.phase == "drive"]
        assert len(journal.goals.time_s) == len(driven)
        assert journal.is_complete == (row.error is None)


def test_an_arm_in_place_of_the_unplugged_one_is_only_read_and_told_of_once(tmp_path: Path) -> None:
    with fault_rig("moving", tmp_path) as rig:
        rig.comes_back_as_another = True
        outcome = rig.run(parse_fault("unplug duration=0.8")[1])
    assert sum("is not the arm of its calibration" in said for said in outcome.said) == 1
    sent = b"".join(bytes(line.sent) for line in rig.reopened)
    instructions = {packet[2] for packet in sent.split(b"\xff\xff") if packet}
    assert instructions <= {0x02, 0x82}  # READ and SYNC_READ
    assert outcome.states == TorqueStates.of_all(TorqueState.UNREACHABLE)


def test_a_second_stop_while_the_adapter_is_looked_for_ends_the_search(tmp_path: Path) -> None:
    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(parse_fault("unplug duration=0.8")[1], off_after_s=1.5)
        assert outcome.states == TorqueStates.of_all(TorqueState.UNREACHABLE)
        assert outcome.registers == [1] * 6  # and so it is told
        rig.clock.sleep_until(rig.clock.now_s() + 0.5)

        assert rig.follower.reconnect()  # as the control process does while idle

        assert [rig.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
        assert rig.follower.torque_state.is_off
    assert {tick.phase for tick in outcome.ticks} == {"drive"}
    assert outcome.stopped_after_s + outcome.released_after_s < 0.8


@pytest.mark.parametrize("off_after_s", [1.72, 1.76, 1.8, 1.84, 1.88])
def test_a_second_stop_about_when_the_adapter_is_back_lets_go_at_once(
    tmp_path: Path, off_after_s: float
) -> None:
    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(parse_fault("unplug duration=0.65")[1], off_after_s=off_after_s)
    assert {tick.phase for tick in outcome.ticks} <= {"drive", "rest"}
    assert outcome.states.is_off
    assert outcome.registers == [0] * 6
    assert outcome.stopped_after_s + outcome.released_after_s < off_after_s - FAULT_AT_S + 0.25


def test_an_adapter_pulled_on_the_way_to_rest_is_looked_for_too(tmp_path: Path) -> None:
    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(parse_fault("unplug duration=0.8")[1], drive_s=FAULT_AT_S - 0.1)
    assert outcome.error is None
    assert [said for said in outcome.said if "rest" in said] == ["walking to the rest pose"] * 2
    assert outcome.registers == [0] * 6
    assert outcome.states.is_off


@dataclass
class _FailsAtRest:
    """A listener that cannot take what is told on the way to rest."""

    error: Exception
    told: int = 0

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "rest":
            self.told += 1
            raise self.error


@pytest.mark.parametrize("error", [StorageFull("the disk is full"), RuntimeError("a defect")])
def test_a_listener_that_fails_on_the_way_to_rest_does_not_drop_the_arm(
    tmp_path: Path, error: Exception
) -> None:
    listener = _FailsAtRest(error)
    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(drive_s=2.0, others=[listener])
    assert outcome.error is None
    assert outcome.released_after_s > 0.5  # it walked
    assert listener.told > 50
    assert sum(str(error) in said for said in outcome.said) == 1
    assert outcome.states.is_off


def test_an_arm_walks_to_rest_though_nobody_can_be_told(tmp_path: Path) -> None:
    def fail(sentence: str) -> None:
        raise OSError(sentence)

    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(drive_s=2.0, say=fail)
    assert outcome.said == ["walking to the rest pose"]
    assert outcome.released_after_s > 0.5
    assert outcome.states.is_off


def test_a_second_stop_while_the_arm_walks_lets_go_at_once(tmp_path: Path) -> None:
    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(drive_s=2.0, off_after_s=2.3)
    rested = [tick for tick in outcome.ticks if tick.phase == "rest"]
    assert 0 < len(rested) <= 31
    assert outcome.released_after_s < 0.45
    assert outcome.registers == [0] * 6
    assert outcome.states.is_off


def test_a_second_stop_without_a_first_does_not_walk(tmp_path: Path) -> None:
    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(off_after_s=1.5)
    assert {tick.phase for tick in outcome.ticks} == {"drive"}
    assert outcome.released_after_s < 0.1
    assert outcome.registers == [0] * 6


def test_a_second_stop_ends_the_sinking(tmp_path: Path) -> None:
    with fault_rig("moving", tmp_path) as rig:
        outcome = rig.run(parse_fault("mute servo=3")[1], off_after_s=2.0)
    assert isinstance(outcome.error, JointLost)
    assert (
        outcome.stopped_after_s + outcome.released_after_s < 1.6
    )  # a mute joint is asked for 0.5 s
    assert outcome.registers == [0] * 6


def also_found(row: Row) -> frozenset[str]:
    """Return what is found on the way to a fault: a joint that is about to be lost is silent."""
    return NOISE | frozenset({"temperature", "heat"}) if row.error is not None else frozenset()


def check_error(row: Row, outcome: Outcome) -> None:
    if row.error is None:
        assert outcome.error is None
    else:
        assert type(outcome.error) is row.error
        assert row.says in str(outcome.error)


def check_time(row: Row, outcome: Outcome, rest_took_s: float) -> None:
    if row.error is None:
        assert outcome.stopped_after_s == pytest.approx(row.drive_s - FAULT_AT_S, abs=0.05)
    else:
        assert outcome.stopped_after_s < row.within_s
    assert outcome.released_after_s < rest_took_s


def check_ending(row: Row, outcome: Outcome) -> None:
    rested = [tick for tick in outcome.ticks if tick.phase == "rest"]
    assert bool(rested) == (row.ends in (GOES_ON, WALKS, COMES_BACK))
    assert any("sinks" in said for said in outcome.said) == row.ends.endswith("sinks")
    assert any("not reachable" in said for said in outcome.said) == (row.ends in UNPLUGGED)


def check_torque(row: Row, outcome: Outcome) -> None:
    """Hold what was told against the servos' own registers: one of three states, and true."""
    for joint, state, register in zip(
        JOINTS, outcome.states.joints, outcome.registers, strict=True
    ):
        match state:
            case TorqueState.OFF:
                assert register == 0, joint
            case TorqueState.UNREACHABLE:
                assert joint in row.unreachable
            case TorqueState.ON:
                pytest.fail(f"{joint} was left on")
    if not row.unreachable:
        assert outcome.registers == [0] * 6


def check_goals(outcome: Outcome) -> None:
    """No fault ever makes a larger step than the speed limit's, but to where a joint stands."""
    sent_deg = np.array([tick.sent_deg for tick in outcome.ticks])[:, :5]
    present_deg = np.array([tick.observed.position_deg for tick in outcome.ticks])[:, :5]
    steps_deg = np.abs(np.diff(sent_deg, axis=0))
    is_present = np.abs(sent_deg - present_deg)[1:] < 0.5  # from there, a step of the start ramp
    assert steps_deg[~is_present].max() <= 2.7 + 1e-6


def note(row: Row, state: str, outcome: Outcome) -> None:
    number = 3 * ROWS.index(row) + STATES.index(state)
    stopped = "-" if row.error is None else f"{max(outcome.stopped_after_s, 0.0):.2f} s"
    found = ", ".join(sorted(outcome.kinds)) or "-"
    TABLE.append(
        f"{number}| {row.name} | {state} | {row.ends} | {stopped} | "
        f"{outcome.released_after_s:.2f} s | {found} | {outcome.states} | "
        f"{''.join(map(str, outcome.registers))} |"
    )
