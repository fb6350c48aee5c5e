"""Rollouts on a twin, one process, no leader: how they are judged and what their journals say."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from deploy.checkpoint import Checkpoint
from deploy.plan_goals import PlanGoals
from deploy.planner import InlinePlanner
from deploy.plans import Observation, PlanArray
from record.journal import list_journals
from record.journal_reader import read_journal
from robot.arm import Follower
from robot.clock import Clock
from robot.errors import PolicyFailed
from robot.joints import JOINTS
from scripts.__main__ import main
from scripts.driving import Driver
from scripts.rig_session import Rig, open_rig
from scripts.rollouts import RolloutBench, RolloutPlan, RolloutRecord, run_rollouts
from scripts.stopping import StopRequest
from sim.faults import Fault
from sim.tasks.pick_red import TaskStart
from sim.twin_control import TwinControl, TwinStatus
from sim.twin_core import ArmName, HandName

PROFILE = """
schema = 1
name = "rollouts"
[leader]
port = "twin:leader"
id = "leader"
calibration_dir = "{folder}"
[follower]
port = "twin:follower"
id = "follower"
calibration_dir = "{folder}"
[twin]
eeprom_file = "{folder}/eeprom.json"
"""


@dataclass
class StayingPolicy:
    """Plans to stay; asks for a stop at a given plan, as Ctrl-C would, or fails at one."""

    stop: StopRequest
    stop_at_plan: int = 0  # -1: while the rollout is set up
    fail_at_plan: int = 0
    step_s: float = 1 / 30
    execute_steps: int = 3
    plans: int = 0

    def reset(self, seed: int) -> None:
        self.plans = 0
        self.stop.is_set |= self.stop_at_plan < 0

    def predict(self, observation: Observation) -> PlanArray:
        self.plans += 1
        if self.plans == self.stop_at_plan:
            self.stop.is_set = True
        if self.plans == self.fail_at_plan:
            raise PolicyFailed("out of ideas")
        return np.tile(observation.state_deg, (10, 1))


@dataclass
class AnnouncedControl:
    """The twin's control, but success comes `success_s` after a scene was set."""

    control: TwinControl
    clock: Clock
    success_s: float
    reset_s: float = 0.0
    asked_s: list[float] = field(default_factory=list[float])

    def reset(self, seed: int) -> TaskStart:
        self.reset_s = self.clock.now_s()
        self.asked_s.clear()
        return self.control.reset(seed)

    def place(self, start: TaskStart) -> None:
        self.control.place(start)

    def set_hand(self, arm: ArmName, hand: HandName, seed: int = 0) -> None:
        self.control.set_hand(arm, hand, seed)

    def inject(self, fault: Fault, arm: ArmName = "follower") -> None:
        self.control.inject(fault, arm)

    def clear_faults(self) -> None:
        self.control.clear_faults()

    def status(self) -> TwinStatus:
        self.asked_s.append(self.clock.now_s() - self.reset_s)
        is_up = self.asked_s[-1] >= self.success_s
        return msgspec.structs.replace(self.control.status(), success=is_up)


@pytest.fixture(scope="module")
def rig_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrate a follower and no leader: a table on which only a policy moves an arm."""
    folder = tmp_path_factory.mktemp("rollouts")
    path = folder / "rig.toml"
    path.write_text(PROFILE.format(folder=folder))
    assert main(["calibrate", "--virtual", "--arm", "follower", "--rig", str(path)]) == 0
    return path


@pytest.fixture
def rig(rig_path: Path) -> Iterator[Rig]:
    with open_rig(rig_path, virtual=True) as opened:
        yield opened


def roll_out(
    rig: Rig, record: Path | None, *, stop_at_plan: int = 0, fail_at_plan: int = 0
) -> RolloutRecord:
    """Run two rollouts of 0.5 s at seeds 40 and 41."""
    stop = StopRequest()
    policy = StayingPolicy(stop, stop_at_plan, fail_at_plan)
    done = RolloutRecord()
    with rig.open_control("session") as control:
        goals = PlanGoals(
            planner=InlinePlanner(policy), cameras={}, rate_hz=rig.profile.control_rate_hz
        )
        driver = Driver(control, stop, Console(quiet=True))
        bench = RolloutBench(rig, driver, goals, untrained())
        run_rollouts(RolloutPlan(2, 0.5, 40, "", record, is_attended=False), bench, done)
    return done


def untrained() -> Checkpoint:
    return Checkpoint(
        path=Path(),
        policy_type="staying",
        weights_sha256="",
        chunk_steps=10,
        execute_steps=3,
        fps=30.0,
        joint_names=JOINTS,
        cameras={},
        dataset="",
        calibration_sha256="",
        state_min_deg=None,
        state_max_deg=None,
    )


def test_a_table_without_a_leader_is_recorded_and_its_scenes_can_be_set_again(
    rig: Rig, tmp_path: Path
) -> None:
    done = roll_out(rig, tmp_path)

    assert [each.outcome for each in done.outcomes] == ["failure", "failure"]
    for index in (0, 1):
        journal = read_journal(tmp_path / f"episode_{index:06d}.mcap")
        assert journal.outcome == "fail"
        assert set(journal.header.calibration_sha256) == {"follower"}
        assert journal.header.seed == 40 + index
        start = msgspec.json.decode(journal.header.task_start, type=TaskStart)
        assert rig.require_control("a test").reset(40 + index) == start


def test_a_rollout_that_was_stopped_is_not_judged(rig: Rig, tmp_path: Path) -> None:
    done = roll_out(rig, tmp_path, stop_at_plan=3)

    assert [each.outcome for each in done.outcomes] == ["unmarked"]
    assert done.outcomes[0].duration_s < 0.45
    assert read_journal(tmp_path / "episode_000000.mcap").outcome == "unmarked"


def test_an_error_leaves_the_episode_under_way_unfinished(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(PolicyFailed):
        roll_out(rig, tmp_path, fail_at_plan=3)

    assert list_journals(tmp_path) == []
    (part,) = list_journals(tmp_path, unfinished=True)
    journal = read_journal(part)
    assert len(journal.goals.tick) > 5
    assert journal.events[-1].name == "failed"
    assert journal.events[-1].detail == {"error": "out of ideas"}


def test_a_stop_while_a_rollout_is_set_up_powers_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    powered: list[Follower] = []
    monkeypatch.setattr(Follower, "torque_on", powered.append)

    done = roll_out(rig, None, stop_at_plan=-1)

    assert done.outcomes == []
    assert powered == []


def test_a_success_after_the_last_look_counts(rig: Rig) -> None:
    """The twin is asked every 0.2 s; the time is up at 0.5 s."""
    plain = rig.require_control("a test")
    control = AnnouncedControl(plain, rig.clock, success_s=0.5)
    rig.control = control

    done = roll_out(rig, None)

    assert [each.outcome for each in done.outcomes] == ["success", "success"]
    assert control.asked_s[-2] < 0.5 <= control.asked_s[-1]


def test_a_success_ends_the_rollout(rig: Rig) -> None:
    rig.control = AnnouncedControl(rig.require_control("a test"), rig.clock, success_s=0.1)

    done = roll_out(rig, None)

    assert [each.outcome for each in done.outcomes] == ["success", "success"]
    assert max(each.duration_s for each in done.outcomes) < 0.3
