"""PlanGoals in virtual time, with cameras that can be late and planners that can fail."""

import numpy as np
import pytest

from deploy.plan_goals import PlanGoals
from deploy.planner import InlinePlanner
from deploy.plans import Observation, Plan, PlanArray
from robot.errors import ConfigError, PolicyFailed
from robot.frames import Frame
from robot.joint_sample import JointSample
from robot.joints import FloatVector

RATE_HZ = 100.0
PERIOD_S = 1 / RATE_HZ
STEP_S = 1 / 30


def sample(position_deg: FloatVector, time_s: float) -> JointSample:
    zeros = np.zeros(6)
    times_s = np.full(6, time_s)
    return JointSample(times_s, position_deg, zeros, zeros, zeros, zeros, zeros, (0,) * 6)


class SteadyCamera:
    """A camera that takes a picture every 1/30 s, until it hangs."""

    name = "wrist"

    def __init__(self) -> None:
        self.now_s = 0.0
        self.hangs_from_s = float("inf")

    def take(self) -> list[Frame]:
        return []

    def latest(self) -> Frame | None:
        sequence = int(min(self.now_s, self.hangs_from_s) / STEP_S)
        return Frame(self.name, sequence, sequence * STEP_S, b"jpeg%d" % sequence, 96, 64)

    def close(self) -> None:
        pass


class RampPolicy:
    """Goes on at 30 degrees a second from where the arm stands; remembers what it was asked."""

    step_s = STEP_S
    execute_steps = 8

    def __init__(self) -> None:
        self.asked: list[Observation] = []
        self.seeds: list[int] = []

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)

    def predict(self, observation: Observation) -> PlanArray:
        self.asked.append(observation)
        return observation.state_deg + np.arange(16.0)[:, None] * 30.0 * STEP_S


class Bench:
    """A loop without arm: the follower is where it was told to be, one tick later."""

    def __init__(
        self, planner: InlinePlanner, camera: SteadyCamera, give_up_s: float = 5.0
    ) -> None:
        self.goals = PlanGoals(
            planner=planner, cameras={"wrist": camera}, rate_hz=RATE_HZ, give_up_s=give_up_s
        )
        self.camera = camera
        self.now_s = 0.0
        self.position_deg: FloatVector = np.full(6, 5.0)
        self.made_s: list[float] = []
        self.seen: list[tuple[float, float, float]] = []  # time, position, progress

    def run(self, ticks: int) -> list[FloatVector]:
        sent: list[FloatVector] = []
        for _ in range(ticks):
            self.camera.now_s = self.now_s
            goal = self.goals.goal(sample(self.position_deg, self.now_s), self.now_s)
            progress_s = self.goals._scheduler.progress_s
            self.seen.append((self.now_s, float(self.position_deg[0]), progress_s))
            self.position_deg = goal.position_deg
            self.made_s.append(goal.made_s)
            sent.append(goal.position_deg)
            self.now_s += PERIOD_S
        return sent


@pytest.fixture
def policy() -> RampPolicy:
    return RampPolicy()


@pytest.fixture
def bench(policy: RampPolicy) -> Bench:
    return Bench(InlinePlanner(policy, latency_s=0.03), SteadyCamera())


def test_the_pose_is_held_until_the_first_plan_then_moves_on_without_a_jump(bench: Bench) -> None:
    sent = bench.run(300)

    steps = np.diff(np.array([goal[0] for goal in sent]))
    assert sent[0][0] == 5.0
    first_motion = int(np.argmax(steps > 0))
    assert 2 <= first_motion <= 4  # the inline planner's 30 ms
    assert steps.max() <= 2 * 30.0 * PERIOD_S
    assert steps.min() >= -1e-9
    assert sent[-1][0] > 60.0


def test_the_same_rollout_comes_out_of_the_same_seed(policy: RampPolicy) -> None:
    runs = [
        np.array(Bench(InlinePlanner(policy), SteadyCamera()).run(200)).tobytes() for _ in range(2)
    ]

    assert runs[0] == runs[1]


def test_joints_and_progress_are_of_the_time_of_the_picture(
    bench: Bench, policy: RampPolicy
) -> None:
    bench.run(100)

    observation = policy.asked[-1]
    assert observation.observation_s == pytest.approx(
        round(observation.observation_s / STEP_S) * STEP_S
    )
    assert observation.images == {"wrist": b"jpeg%d" % round(observation.observation_s / STEP_S)}
    times_s, positions_deg, progress_s = zip(*bench.seen, strict=True)
    taken_s = observation.observation_s
    assert taken_s % PERIOD_S > 1e-6  # between two ticks, so something had to be interpolated
    assert observation.state_deg[0] == pytest.approx(np.interp(taken_s, times_s, positions_deg))
    assert observation.progress_s == pytest.approx(np.interp(taken_s, times_s, progress_s))


def test_a_plan_is_only_started_from_a_picture_after_the_last_switch(policy: RampPolicy) -> None:
    bench = Bench(InlinePlanner(policy, latency_s=0.25), SteadyCamera())
    switched_s: list[float] = []
    for _ in range(400):
        before = bench.goals.log.switches
        bench.run(1)
        if bench.goals.log.switches > before:
            switched_s.append(bench.now_s - PERIOD_S)

    assert len(switched_s) > 3
    for asked, switch_s in zip(policy.asked[1:], switched_s, strict=False):
        assert asked.observation_s >= switch_s


def test_execute_steps_of_a_chunk_are_executed_before_the_next(
    bench: Bench, policy: RampPolicy
) -> None:
    bench.run(1000)

    executed_s = 8 * STEP_S
    assert bench.goals.log.switches == pytest.approx(1000 * PERIOD_S / executed_s, abs=3)
    assert len(policy.asked) <= bench.goals.log.switches + 1


def test_a_hanging_camera_starves_the_plan_and_the_arm_is_held(bench: Bench) -> None:
    bench.run(100)

    bench.camera.hangs_from_s = bench.now_s
    sent = bench.run(200)

    assert np.array_equal(sent[-1], sent[-50])
    statistics = bench.goals.log.statistics()
    assert statistics.starved_ticks > 100
    assert statistics.stale_image_ticks > 100
    assert bench.made_s[-1] < bench.now_s - 1.0  # the limits see a goal that grows old


def test_without_a_plan_for_too_long_the_loop_ends_with_the_reason(bench: Bench) -> None:
    bench.run(100)
    bench.camera.hangs_from_s = bench.now_s

    with pytest.raises(PolicyFailed, match=r"no plan .* 5 s; .* picture of camera wrist is .* old"):
        bench.run(1000)


def test_a_camera_without_any_picture_is_named(policy: RampPolicy) -> None:
    class Blind(SteadyCamera):
        def latest(self) -> Frame | None:
            return None

    bench = Bench(InlinePlanner(policy), Blind(), give_up_s=0.5)

    with pytest.raises(PolicyFailed, match="camera wrist has not delivered a picture"):
        bench.run(100)


def test_a_slow_policy_is_named(policy: RampPolicy) -> None:
    bench = Bench(InlinePlanner(policy, latency_s=10.0), SteadyCamera(), give_up_s=0.5)

    with pytest.raises(PolicyFailed, match="inference takes too long"):
        bench.run(100)


def test_reset_drops_the_plan_under_way_and_seeds_the_policy(
    bench: Bench, policy: RampPolicy
) -> None:
    bench.run(100)

    bench.goals.reset(77)
    bench.position_deg = np.full(6, -40.0)
    sent = bench.run(3)

    assert policy.seeds == [77]
    assert sent[0][0] == -40.0  # held where the new rollout begins
    assert bench.goals.log.statistics().ticks == 103


def test_a_plan_of_an_older_generation_is_dropped(policy: RampPolicy) -> None:
    class Delayed(InlinePlanner):
        """A planner in another process: a reset cannot call a plan back."""

        def reset(self, seed: int) -> None:
            pass

    bench = Bench(Delayed(policy, latency_s=0.1), SteadyCamera())
    bench.run(3)

    bench.goals.reset(1)
    bench.position_deg = np.full(6, -40.0)
    sent = bench.run(12)

    assert bench.goals.log.statistics().dropped_plans == 1
    assert all(goal[0] == -40.0 for goal in sent)


def test_statistics_tell_of_delays_and_ages(bench: Bench) -> None:
    bench.run(1000)

    statistics = bench.goals.log.statistics()
    assert statistics.starved_ticks == 0
    assert statistics.observation_to_plan_ms is not None
    assert 30.0 <= statistics.observation_to_plan_ms.p50 <= 30.0 + 1e3 * STEP_S + 10.0
    assert statistics.image_age_ms is not None
    assert statistics.image_age_ms.max <= 1e3 * STEP_S + 1e-6
    assert statistics.plan_age_ms is not None
    assert statistics.plan_age_ms.max < 1e3 * 16 * STEP_S


def test_a_policy_that_gives_no_chunk_is_refused() -> None:
    class Wrong(RampPolicy):
        def predict(self, observation: Observation) -> PlanArray:
            return np.zeros((16, 7))

    with pytest.raises(ConfigError, match=r"shape \(16, 7\)"):
        Bench(InlinePlanner(Wrong()), SteadyCamera()).run(10)


def test_inline_planner_gives_a_plan_once_and_not_before_its_time(policy: RampPolicy) -> None:
    planner = InlinePlanner(policy, latency_s=0.03)
    planner.request(Observation(1, 0.0, 0.0, np.zeros(6), {}), 0.0)

    assert not planner.is_idle()
    assert planner.poll(0.02) is None
    assert isinstance(planner.poll(0.03), Plan)
    assert planner.poll(0.04) is None
    assert planner.is_idle()
