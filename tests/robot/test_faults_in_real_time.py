"""Eight rows of the fault matrix on the wall clock: control process, guard and servos on a pty."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from control_bench import OFF, ON, ArmsBench, open_arms

from robot.errors import ControlLost, JointLost, ServoFault, So101Error
from robot.loop import Tick
from robot.torque import TorqueState

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

DRIVE_S = 1.5
FAULT_AT_TICK = 30
ALL = frozenset(range(6))
ELBOW = frozenset({2})


@pytest.fixture(scope="module")
def arms() -> Iterator[ArmsBench]:
    folder = Path(tempfile.mkdtemp(dir=os.environ["XDG_RUNTIME_DIR"]))
    with open_arms(folder) as bench:
        yield bench


class Injector:
    """A listener that lets a fault begin, and notes what was found."""

    def __init__(self, arms: ArmsBench, fault: str) -> None:
        self._arms = arms
        self._fault = fault
        self.began_s = 0.0
        self.last_drive_s = 0.0
        self.kinds: set[str] = set()

    def on_tick(self, tick: Tick) -> None:
        self.kinds |= {finding.kind for finding in tick.news}
        if tick.phase == "drive":
            self.last_drive_s = tick.sent_s
        if tick.index == FAULT_AT_TICK and not self.began_s:
            assert self._arms.torque() == ON
            self.began_s = time.monotonic()
            self._arms.ask("fault", self._fault)


ROWS: list[tuple[str, type[So101Error] | None, str, frozenset[int]]] = [
    ("drop servo=3 count=2", None, "", frozenset()),
    ("flip probability=0.02", None, "", frozenset()),
    ("stale probability=0.02", None, "", frozenset()),
    ("brownout servo=3 duration=0.2", None, "power", frozenset()),
    ("error servo=3 error_bits=32", ServoFault, "overload", frozenset()),
    ("voltage", ServoFault, "voltage", frozenset()),
    ("mute servo=3", JointLost, "silence", ELBOW),
    ("baud servo=3", JointLost, "silence", ELBOW),
]


@pytest.mark.parametrize(("fault", "error", "kind", "unreachable"), ROWS, ids=lambda v: str(v)[:24])
def test_fault(
    arms: ArmsBench,
    fault: str,
    error: type[So101Error] | None,
    kind: str,
    unreachable: frozenset[int],
) -> None:
    injector = Injector(arms, fault)
    raised: So101Error | None = None
    # Who leaves with a joint that nobody could read back is told so, by the guard too.
    leaving = pytest.raises(ControlLost, match="elbow_flex not reachable: cut the power")
    try:
        with leaving if unreachable else nullcontext(), arms.control() as (control, _):
            control.torque_on()
            began_s = time.monotonic()
            try:
                control.drive(
                    listeners=[injector], should_stop=lambda: time.monotonic() - began_s > DRIVE_S
                )
            except So101Error as caught:
                raised = caught
            ended_s = time.monotonic()
            states = control.stop()
            torque = arms.torque()
    finally:
        arms.ask("clear")

    assert type(raised) is (error or type(None)), raised
    assert kind in {*injector.kinds, ""}
    if error is not None:
        assert injector.last_drive_s - injector.began_s < 1.0
        assert ended_s - injector.last_drive_s < 6.0  # the walk, or the sinking, and room
    for index, (state, register) in enumerate(zip(states.joints, torque, strict=True)):
        assert state is not TorqueState.ON
        assert (state is TorqueState.UNREACHABLE) == (index in unreachable)
        if state is TorqueState.OFF:
            assert register == 0
    if not unreachable:
        assert torque == OFF
