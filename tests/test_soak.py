"""Half an hour of teleoperation over ptys with random faults on both buses; opt-in.

`./so101 test -m soak -s tests/test_soak.py`; SO101_SOAK_S sets the length in seconds. The emulated
arms are a process of their own, and control and guard the real ones. What a servo said, and when,
is known from the servo: every status packet is kept with the emulator's own time.
"""

import os
import sys
import tempfile
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.arms_messages import (
    AddFault,
    ArmsReady,
    AskTorque,
    Begun,
    Harvest,
    Harvested,
    Told,
    Torque,
    Wander,
)
from benchmarks.bench_rig import FOLLOWER_ID, LEADER_ID, write_calibrations, write_profile
from benchmarks.child import Child
from robot.calibration_store import load_calibration
from robot.control_client import start_control
from robot.errors import So101Error
from robot.joints import JOINTS, Calibration, FloatVector, deg_to_ticks
from robot.loop import Tick
from robot.run_folder import open_run_folder

SOAK_S = float(os.environ.get("SO101_SOAK_S", "1800"))
WARM_UP_S = 60.0  # the record's ring has filled by then
RATE_HZ = 100.0
HARVEST_S = 0.5
WATCH_S = 5.0
FAULT_S = (0.5, 3.0)  # uniformly between two faults
MAY_LOOK_FRESHER_S = 0.002  # and never younger: beyond what request and place in the chain take
LEADER_AGE_S = 0.5  # a leader's joint may be silent for so long
MAX_GROWTH_BYTES = 2_000_000
MAX_PHASE_DRIFT_S = 0.001
MAX_LOST_SHARE = 0.02  # of the ticks: a fault may cost its own

pytestmark = [pytest.mark.soak, pytest.mark.realtime, pytest.mark.timeout(int(1.2 * SOAK_S) + 180)]

# Packets spoiled one by one, and silences shorter than those that end a drive (0.5 s).
PACKET_FAULTS = ("drop", "flip", "insert", "lose", "truncate", "length", "stale", "deaf")


def random_fault(dice: Random) -> str:
    """Write a fault as `so101 twin --fault` takes it."""
    arm = dice.choice(["arm=leader", "arm=follower"])
    servo = f"servo={dice.randint(1, 6)}"
    kind = dice.choice([*PACKET_FAULTS, "delay", "mute", "brownout"])
    match kind:
        case "delay":
            return f"delay {arm} {servo} delay={dice.uniform(0.002, 0.1):.4f} count=1"
        case "mute":
            return f"mute {arm} {servo} duration={dice.uniform(0.01, 0.3):.3f}"
        case "brownout":
            return f"brownout arm=follower {servo} duration={dice.uniform(0.05, 0.3):.3f}"
        case _:
            return f"{kind} {arm} {servo} count={dice.randint(1, 3)} seed={dice.randint(0, 9999)}"


class Witness:
    """Compare what the loop was told with what the servos said."""

    def __init__(self, follower: Calibration, leader: Calibration) -> None:
        self.checked = self.fresh = 0
        self.lies: list[str] = []
        self.leader_ages_s: list[float] = []
        self.goals_s: list[float] = []
        self._calibrations = {"follower": follower, "leader": leader}
        self._ticks: deque[Tick] = deque()
        self._said: dict[tuple[str, int], list[Told]] = {
            (arm, place): [] for arm in ("follower", "leader") for place in range(1, 7)
        }
        self._last_time_s: FloatVector = np.zeros(6)

    def on_tick(self, tick: Tick) -> None:
        """Keep a tick until the servos' side of it is known."""
        self._ticks.append(tick)

    def compare(self, harvested: Harvested) -> None:
        """Judge all ticks that lie well before the harvest."""
        self.goals_s += harvested.goals_s
        for arm, told in (("follower", harvested.follower), ("leader", harvested.leader)):
            for one in told:
                self._said[arm, one.place].append(one)
        while self._ticks and self._ticks[0].sent_s < harvested.now_s - 0.1:
            self._judge(self._ticks.popleft())
        for said in self._said.values():
            del said[: max(0, len(said) - 600)]

    def _judge(self, tick: Tick) -> None:
        observed = tick.observed
        ticks = deg_to_ticks(observed.position_deg, self._calibrations["follower"])
        for joint in range(6):
            self.checked += 1
            time_s = float(observed.time_s[joint])
            if time_s == self._last_time_s[joint]:
                continue  # said to be old
            self.fresh += 1
            self._last_time_s[joint] = time_s
            if not self._was_said(joint, int(ticks[joint]), time_s, tick.sent_s):
                self.lies.append(f"tick {tick.index}: {JOINTS[joint]} of {time_s:.4f} s")
        if tick.phase == "drive":
            self.leader_ages_s.append(self._oldest_s(tick))

    def _was_said(self, joint: int, ticks: int, time_s: float, until_s: float) -> bool:
        """Tell whether the servo said this no earlier than the sample claims, and before its use.

        Later than claimed is no lie: a busy machine may come between the stamp and the wire.
        """
        said = self._said["follower", joint + 1]
        at = bisect_left(said, time_s - MAY_LOOK_FRESHER_S, key=lambda one: one.time_s)
        return any(one.ticks == ticks for one in said[at:] if one.time_s <= until_s)

    def _oldest_s(self, tick: Tick) -> float:
        """Return the age of the oldest leader value in the goal that was asked for."""
        asked = deg_to_ticks(tick.asked_deg, self._calibrations["leader"])
        ages_s: list[float] = []
        for joint in range(6):
            said = self._said["leader", joint + 1]
            times_s = [
                one.time_s for one in said if one.ticks == asked[joint] and one.time_s < tick.sent_s
            ]
            ages_s.append(tick.sent_s - max(times_s) if times_s else float("inf"))
        return max(ages_s)


class Watch:
    """Every half second: harvest; now and then: a fault, and the memory of control and guard."""

    def __init__(self, arms: Child, witness: Witness, pids: list[int]) -> None:
        self.faults: list[str] = []
        self.memory: list[tuple[float, int]] = []
        self._arms = arms
        self._witness = witness
        self._pids = pids
        self._dice = Random(0)
        self._began_s = self._harvest_s = self._watch_s = time.monotonic()
        self._fault_s = self._began_s + 3.0

    def is_over(self) -> bool:
        """Do what is due; tell whether the time is up."""
        now_s = time.monotonic()
        if now_s >= self._harvest_s:
            self._harvest_s = now_s + HARVEST_S
            self._witness.compare(self._arms.ask(Harvest(), Harvested))
        if now_s >= self._fault_s:
            self._fault_s = now_s + self._dice.uniform(*FAULT_S)
            self.faults.append(random_fault(self._dice))
            self._arms.ask(AddFault(self.faults[-1]), Begun)
        if now_s >= self._watch_s:
            self._watch_s = now_s + WATCH_S
            self.memory.append((now_s - self._began_s, sum(map(resident_bytes, self._pids))))
        return now_s >= self._began_s + SOAK_S

    def growth_bytes(self) -> float:
        """Return how much the memory grew after the warm-up, by a straight line through it."""
        late = [(at_s, size) for at_s, size in self.memory if at_s >= min(WARM_UP_S, SOAK_S / 2)]
        times_s, sizes = np.array(late).T
        slope = float(np.polyfit(times_s, sizes, 1)[0])
        return slope * float(times_s[-1] - times_s[0])


def resident_bytes(pid: int) -> int:
    pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def phase_drift_s(goals_s: list[float]) -> float:
    """Return how far the loop slid over its own grid from the first tenth to the last."""
    times = np.array(goals_s)
    period_s = 1.0 / RATE_HZ
    phase = np.mod(times - times[0] + period_s / 2, period_s) - period_s / 2
    tenth = len(phase) // 10
    return float(np.median(phase[-tenth:]) - np.median(phase[:tenth]))


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="so101s-") as name:  # short: sockets go into it
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield


@pytest.mark.usefixtures("runtime")
def test_a_long_drive_through_faults_tells_the_truth_and_keeps_its_size_and_rate(
    tmp_path: Path,
) -> None:
    rig = tmp_path / "rig.toml"
    write_calibrations(tmp_path)
    with Child("benchmarks.arms_process") as arms, open_run_folder("soak") as folder:
        ready = arms.hear(ArmsReady)
        write_profile(rig, ready.leader, ready.follower, {}, RATE_HZ)
        arms.ask(Wander(), Begun)
        witness = Witness(
            load_calibration(tmp_path / f"{FOLLOWER_ID}.json"),
            load_calibration(tmp_path / f"{LEADER_ID}.json"),
        )
        with start_control(rig, source="leader", run_folder=folder.path) as control:
            watch = Watch(arms, witness, [control.pid, control.facts.guard_pid])
            control.torque_on()
            arms.ask(Harvest(), Harvested)
            began_s = time.monotonic()
            try:
                control.drive(listeners=[witness], should_stop=watch.is_over)
            except So101Error as error:
                pytest.fail(
                    f"the drive ended after {time.monotonic() - began_s:.0f} s: {error}\n"
                    f"last faults: {watch.faults[-5:]}"
                )
        torque = arms.ask(AskTorque(), Torque).follower
    ages_s = np.array(witness.leader_ages_s)
    drift_s = phase_drift_s(witness.goals_s)
    expected = RATE_HZ * (witness.goals_s[-1] - witness.goals_s[0])
    sys.stderr.write(
        f"\n{SOAK_S:.0f} s, {len(watch.faults)} faults, {len(witness.goals_s)} goals of "
        f"{expected:.0f}; {witness.fresh} of {witness.checked} samples said to be fresh; leader "
        f"p50 {1000 * np.median(ages_s):.1f} ms, oldest {1000 * ages_s.max():.0f} ms; memory "
        f"{watch.growth_bytes() / 1000:+.0f} kB; drift {1e6 * drift_s:+.0f} us\n"
    )

    assert witness.lies == []
    assert witness.fresh > 0.9 * witness.checked
    assert ages_s.max() < LEADER_AGE_S
    assert watch.growth_bytes() < MAX_GROWTH_BYTES
    assert abs(drift_s) < MAX_PHASE_DRIFT_S
    assert len(witness.goals_s) > (1 - MAX_LOST_SHARE) * expected
    assert torque == [0] * 6
