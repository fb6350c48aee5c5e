"""The monitor: what is found, told once, and asked of the loop; with samples, then with servos."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench
from hypothesis import given
from hypothesis import strategies as st
from world_bench import WorldBench

from robot.arm import Follower
from robot.errors import JointLost, ServoFault
from robot.health import GOOD, LONGEST_TICK_S, Health, HealthMonitor, Response
from robot.health_rules import (
    BIT_DWELL_S,
    DERATED_SPEED_FACTOR,
    GRIP_LOAD_PCT,
    LATCHED_S,
    SILENCE_LIMIT_S,
    SQUEEZE_LOAD_PCT,
    STALL_BACK_OFF_DEG,
    TEMPERATURE_DWELL_S,
    VOLTAGE_DWELL_S,
    VOLTAGE_OF_12V_SERVO,
)
from robot.joint_sample import JointSample
from robot.joints import GRIPPER, JOINTS, FloatVector
from robot.limits import GoalLimiter
from robot.loop import Goal, Tick, turn_until
from sim.servo_motor import OVERLOAD_BIT

GO, WARN, DERATE, HOLD, STOP = Response
VOLTAGE, ENCODER, HEAT, CURRENT, ANGLE, OVERLOAD = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
TICK_S = 0.01
RATE_HZ = 100.0
GOOD_SAMPLE = JointSample(
    time_s=np.zeros(6),
    position_deg=np.zeros(6),
    velocity_deg_s=np.zeros(6),
    load_pct=np.zeros(6),
    voltage_v=np.full(6, 6.5),
    temperature_celsius=np.full(6, 30.0),
    current_ma=np.zeros(6),
    status=(0,) * 6,
)


def row(joint: int, value: float, others: float = 0.0) -> FloatVector:
    values = np.full(6, others)
    values[joint] = value
    return values


def bits(joint: int, status: int) -> tuple[int, ...]:
    return tuple(status if index == joint else 0 for index in range(6))


class Watched:
    """A monitor told of one sample after another, a tick apart."""

    def __init__(self, monitor: HealthMonitor | None = None) -> None:
        self.monitor = HealthMonitor() if monitor is None else monitor
        self.tick = 0
        self.told: list[str] = []  # kinds, as they were news

    def judge(
        self,
        sample: JointSample = GOOD_SAMPLE,
        *,
        ticks: int = 1,
        silent: Sequence[int] = (),
        sent_deg: FloatVector | None = None,
    ) -> Health:
        health = GOOD
        for _ in range(ticks):
            now_s = self.tick * TICK_S
            self.tick += 1
            times_s = np.full(6, now_s + 0.001)
            times_s[list(silent)] = -1.0
            health = self.monitor.judge(replace(sample, time_s=times_s), sent_deg, now_s)
            self.told += [finding.kind for finding in health.news]
        return health


@pytest.fixture
def watched() -> Watched:
    one = Watched()
    one.judge()
    return one


def ticks_of(seconds: float) -> int:
    return round(seconds / TICK_S)


# --- nothing wrong -------------------------------------------------------------------------------


def test_servos_that_are_well_are_good(watched: Watched) -> None:
    assert watched.judge(ticks=500) is GOOD
    assert (GOOD.response, GOOD.speed_factor, GOOD.findings, GOOD.news) == (GO, 1.0, (), ())
    assert not GOOD.yielding.any()
    assert not GOOD.is_holding
    assert set(GOOD.not_below_deg) == {-np.inf}
    assert set(GOOD.not_above_deg) == {np.inf}


def test_good_cannot_be_changed_by_whoever_gets_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        GOOD.yielding[0] = True


def test_the_first_sample_is_judged_and_no_time_has_passed_before_it() -> None:
    first = replace(GOOD_SAMPLE, status=bits(0, ANGLE), temperature_celsius=row(1, 70.0, 30.0))

    assert [finding.kind for finding in Watched().judge(first).news] == ["angle"]


def test_a_finding_names_its_joint() -> None:
    health = Watched().judge(replace(GOOD_SAMPLE, status=bits(4, ANGLE)))

    assert health.findings[0].joint == "wrist_roll"


# --- silence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", range(6))
def test_the_third_missing_reply_holds_and_one_heard_ends_it(watched: Watched, joint: int) -> None:
    assert watched.judge(ticks=2, silent=[joint]) is GOOD

    health = watched.judge(silent=[joint])

    assert health.response is HOLD
    assert health.is_holding
    assert [finding.sentence for finding in health.news] == [
        f"{JOINTS[joint]} does not answer: all joints wait"
    ]
    assert health.findings == health.news
    later = watched.judge(silent=[joint])
    assert (later.findings, later.news) == (health.findings, ())
    assert watched.judge() is GOOD


def test_a_joint_that_stays_silent_is_lost_and_named(watched: Watched) -> None:
    watched.judge(ticks=ticks_of(SILENCE_LIMIT_S), silent=[2, 4])

    with pytest.raises(JointLost, match=r"^elbow_flex stays silent: .*; wrist_roll stays silent"):
        watched.judge(ticks=2, silent=[2, 4])
    assert watched.told == ["silence", "silence"]


def test_a_loop_that_was_held_up_did_not_listen(watched: Watched) -> None:
    """One missing reply after a pause of a minute is one missing reply."""
    watched.tick += 6000

    health = watched.judge(silent=[3])

    assert LONGEST_TICK_S < SILENCE_LIMIT_S
    assert health.response is HOLD


def test_nothing_else_is_known_of_a_silent_joint(watched: Watched) -> None:
    hot = replace(
        GOOD_SAMPLE,
        temperature_celsius=row(3, 90.0, 30.0),
        load_pct=row(3, 90.0),
        status=bits(3, ENCODER | OVERLOAD | HEAT | CURRENT | ANGLE),
    )

    health = watched.judge(hot, ticks=20, silent=[3], sent_deg=np.full(6, 20.0))

    assert [finding.kind for finding in health.findings] == ["silence"]


# --- error bits ----------------------------------------------------------------------------------


def test_an_encoder_fault_holds_and_a_lasting_one_leaves_a_joint_lost(watched: Watched) -> None:
    bad = replace(GOOD_SAMPLE, status=bits(1, ENCODER))

    health = watched.judge(bad)
    assert health.is_holding
    assert [finding.kind for finding in health.news] == ["sensor"]
    assert watched.judge() is GOOD
    watched.judge(bad, ticks=ticks_of(BIT_DWELL_S))
    with pytest.raises(JointLost, match=r"^the encoder of shoulder_lift .* cannot be trusted"):
        watched.judge(bad)


def test_a_servo_that_switched_itself_off_for_heat_stops(watched: Watched) -> None:
    off = replace(GOOD_SAMPLE, status=bits(2, HEAT), temperature_celsius=row(2, 45.0, 30.0))
    assert watched.judge(off, ticks=2) is GOOD  # an odd byte is no heat

    with pytest.raises(ServoFault, match=r"^elbow_flex switched itself off for heat at 45 °C"):
        watched.judge(off)


def test_an_angle_fault_is_a_warning(watched: Watched) -> None:
    health = watched.judge(replace(GOOD_SAMPLE, status=bits(0, ANGLE)))

    assert health.response is WARN
    assert health.speed_factor == 1.0
    assert health.findings[0].sentence.startswith("shoulder_pan reports an angle fault")
    assert watched.judge() is GOOD


@pytest.mark.parametrize(
    ("bit", "kind", "words"),
    [
        (OVERLOAD, "overload", "is overloaded"),
        (CURRENT, "current", "draws too much current"),
    ],
)
class TestTrips:
    def test_a_joint_that_tripped_yields_and_the_arm_goes_slowly(
        self, watched: Watched, bit: int, kind: str, words: str
    ) -> None:
        health = watched.judge(replace(GOOD_SAMPLE, status=bits(3, bit)))

        assert health.response is DERATE
        assert health.speed_factor == DERATED_SPEED_FACTOR
        assert health.yielding.tolist() == [False, False, False, True, False, False]
        assert [(finding.kind, finding.sentence) for finding in health.news] == [
            (kind, f"wrist_flex {words} and yields")
        ]
        after = watched.judge()
        assert not after.yielding.any()
        assert after.response is DERATE
        assert watched.judge(ticks=150) is GOOD

    def test_a_gripper_that_tripped_does_not_let_go(
        self, watched: Watched, bit: int, kind: str, words: str
    ) -> None:
        health = watched.judge(replace(GOOD_SAMPLE, status=bits(GRIPPER, bit)))

        assert not health.yielding.any()
        assert health.findings[0].kind == kind
        assert words in health.findings[0].sentence

    def test_the_third_trip_within_ten_seconds_stops(
        self, watched: Watched, bit: int, kind: str, words: str
    ) -> None:
        tripped = replace(GOOD_SAMPLE, status=bits(3, bit))
        for _ in range(2):
            watched.judge(tripped)
            watched.judge(ticks=250)

        with pytest.raises(ServoFault, match=f"^wrist_flex {words} again and again"):
            watched.judge(tripped)
        assert watched.told == [kind, kind]

    def test_a_bit_that_no_goal_clears_stops(
        self, watched: Watched, bit: int, kind: str, words: str
    ) -> None:
        tripped = replace(GOOD_SAMPLE, status=bits(3, bit))
        watched.judge(tripped, ticks=ticks_of(LATCHED_S))

        with pytest.raises(ServoFault, match=words):
            watched.judge(tripped, ticks=2)


# --- temperature ---------------------------------------------------------------------------------


def warm(celsius: float, joint: int = 1) -> JointSample:
    return replace(GOOD_SAMPLE, temperature_celsius=row(joint, celsius, 30.0))


def test_heat_warns_derates_and_stops_each_told_once(watched: Watched) -> None:
    dwell = ticks_of(TEMPERATURE_DWELL_S) + 1

    assert watched.judge(warm(60.0), ticks=dwell).response is WARN
    slow = watched.judge(warm(65.0), ticks=dwell)
    assert (slow.response, slow.speed_factor) == (DERATE, DERATED_SPEED_FACTOR)
    watched.judge(warm(66.0), ticks=100)
    assert watched.told == ["temperature", "temperature"]
    with pytest.raises(ServoFault, match=r"^shoulder_lift is too hot, 68 °C: let it cool down"):
        watched.judge(warm(68.0), ticks=dwell)


def test_heat_that_is_less_again_is_no_news(watched: Watched) -> None:
    watched.judge(warm(65.0), ticks=20)

    milder = watched.judge(warm(61.0), ticks=20)

    assert [finding.response for finding in milder.findings] == [WARN]
    assert "61 °C" in milder.findings[0].sentence
    assert watched.told == ["temperature"]
    assert watched.judge(warm(50.0)) is GOOD


def test_a_fault_is_raised_once_so_that_the_walk_to_rest_goes_on(watched: Watched) -> None:
    with pytest.raises(ServoFault):
        watched.judge(warm(70.0), ticks=20)

    health = watched.judge(warm(70.0), ticks=100)

    assert health.response is STOP
    assert not health.is_holding
    assert health.speed_factor == DERATED_SPEED_FACTOR
    assert health.news == ()


def test_another_fault_on_the_way_is_raised_too(watched: Watched) -> None:
    with pytest.raises(ServoFault, match="shoulder_lift"):
        watched.judge(warm(70.0), ticks=20)

    both = replace(warm(70.0), temperature_celsius=np.array([30, 70, 30, 30, 71, 30.0]))
    with pytest.raises(ServoFault, match=r"^wrist_roll is too hot, 71 °C[^;]*$"):
        watched.judge(both, ticks=20)


def test_a_hold_is_seen_beside_a_stop(watched: Watched) -> None:
    with pytest.raises(ServoFault):
        watched.judge(warm(70.0), ticks=20)

    health = watched.judge(warm(70.0), ticks=3, silent=[4])

    assert health.response is STOP
    assert health.is_holding


def test_a_lost_joint_among_faults_is_the_worse(watched: Watched) -> None:
    both = replace(GOOD_SAMPLE, status=(0, ENCODER, 0, HEAT, 0, 0))
    watched.judge(both, ticks=2)

    with pytest.raises(JointLost, match=r"^the encoder of shoulder_lift.*; wrist_flex switched"):
        watched.judge(both)


def test_after_a_reset_everything_begins_anew(watched: Watched) -> None:
    with pytest.raises(ServoFault):
        watched.judge(warm(70.0), ticks=20)

    watched.monitor.reset()

    assert watched.judge() is GOOD
    with pytest.raises(ServoFault):
        watched.judge(warm(70.0), ticks=20)


# --- voltage -------------------------------------------------------------------------------------


def supply(*volts: float) -> JointSample:
    return replace(GOOD_SAMPLE, voltage_v=np.array(volts))


def test_a_dip_is_none_and_a_sag_is_told_once_for_the_joint_that_has_least(
    watched: Watched,
) -> None:
    weak = supply(4.5, 4.4, 4.5, 4.5, 4.4, 4.5)
    dwell = ticks_of(VOLTAGE_DWELL_S)
    assert watched.judge(weak, ticks=dwell - 1) is GOOD
    watched.judge()

    health = watched.judge(weak, ticks=dwell + 1)
    watched.judge(supply(4.4, 4.5, 4.4, 4.5, 4.5, 4.5), ticks=50)

    assert health.response is WARN
    assert [finding.sentence for finding in health.findings] == [
        "shoulder_lift has 4.4 V: check the power supply and its plug"
    ]
    assert watched.told == ["voltage"]


@pytest.mark.parametrize(
    ("volts", "joint", "words"),
    [(4.0, 2, "^elbow_flex has 4.0 V: check"), (19.0, 4, "^wrist_roll has 19.0 V: check")],
)
def test_a_wrong_supply_stops(watched: Watched, volts: float, joint: int, words: str) -> None:
    with pytest.raises(ServoFault, match=words):
        watched.judge(replace(GOOD_SAMPLE, voltage_v=row(joint, volts, 6.5)), ticks=40)


@pytest.mark.parametrize("volts", [4.0, 16.0])
def test_the_volts_of_a_silent_joint_are_old_and_not_judged(watched: Watched, volts: float) -> None:
    old = replace(supply(*[6.5] * 2, volts, *[6.5] * 3), status=bits(2, VOLTAGE))

    watched.judge(old, silent=(2,), ticks=ticks_of(0.4))

    assert "voltage" not in watched.told


def test_when_no_joint_is_heard_the_supply_stays_as_it_was(watched: Watched) -> None:
    weak = supply(*[4.2] * 6)
    watched.judge(weak, ticks=ticks_of(VOLTAGE_DWELL_S) + 1)

    health = watched.judge(weak, silent=range(6), ticks=ticks_of(0.4))

    assert "voltage" in {finding.kind for finding in health.findings}


def test_the_joint_named_for_the_supply_is_one_that_was_heard(watched: Watched) -> None:
    weak = supply(6.5, 6.5, 4.0, 6.5, 4.4, 6.5)

    health = watched.judge(weak, silent=(2,), ticks=ticks_of(0.4))

    assert [f.joint for f in health.findings if f.kind == "voltage"] == ["wrist_roll"]


@pytest.mark.parametrize("volts", [4.3, 12.0])
def test_a_poor_supply_derates(watched: Watched, volts: float) -> None:
    health = watched.judge(replace(GOOD_SAMPLE, voltage_v=np.full(6, volts)), ticks=40)

    assert (health.response, health.speed_factor) == (DERATE, DERATED_SPEED_FACTOR)


def test_the_joint_with_most_is_named_when_that_is_worse(watched: Watched) -> None:
    health = watched.judge(supply(6.5, 6.5, 6.5, 12.0, 6.5, 6.4), ticks=40)

    assert health.findings[0].sentence.startswith("wrist_flex has 12.0 V: the arm goes slowly")


def test_of_a_poor_and_a_high_voltage_the_poor_one_is_named(watched: Watched) -> None:
    health = watched.judge(supply(6.5, 8.2, 4.5, 6.5, 6.5, 6.5), ticks=40)

    assert health.findings[0].sentence.startswith("elbow_flex has 4.5 V")


def test_a_voltage_bit_alone_is_a_warning_with_its_joint(watched: Watched) -> None:
    health = watched.judge(replace(supply(6, 6.1, 6.2, 6.3, 6.4, 6.5), status=bits(3, VOLTAGE)))

    assert health.response is WARN
    assert health.findings[0].sentence.startswith("wrist_flex has 6.3 V")
    assert watched.judge() is GOOD


def test_a_voltage_bit_makes_no_bad_supply_better(watched: Watched) -> None:
    weak = replace(supply(*[4.3] * 6), status=bits(3, VOLTAGE))

    assert watched.judge(weak, ticks=40).response is DERATE


def test_a_sample_of_fewer_joints_is_a_defect(watched: Watched) -> None:
    with pytest.raises(ValueError, match="zip"):
        watched.judge(replace(GOOD_SAMPLE, position_deg=np.zeros(5)))


def test_servos_for_12_v_have_bands_of_their_own() -> None:
    watched = Watched(HealthMonitor(VOLTAGE_OF_12V_SERVO))

    assert watched.judge(replace(GOOD_SAMPLE, voltage_v=np.full(6, 12.0)), ticks=99) is GOOD
    with pytest.raises(ServoFault):
        watched.judge(ticks=99)


# --- stalls and grips ----------------------------------------------------------------------------


def test_a_stalled_joint_gets_a_fence_and_the_others_none(watched: Watched) -> None:
    strained = replace(GOOD_SAMPLE, load_pct=row(2, 90.0), position_deg=row(2, 10.0))

    health = watched.judge(strained, ticks=31, sent_deg=row(2, 30.0))

    assert health.response is WARN
    assert health.speed_factor == 1.0
    assert health.not_above_deg == (
        np.inf, np.inf, 10.0 + STALL_BACK_OFF_DEG, np.inf, np.inf, np.inf,
    )  # fmt: skip
    assert set(health.not_below_deg) == {-np.inf}
    assert [finding.sentence for finding in health.findings] == [
        "elbow_flex is blocked and was backed off: see what it pushes against"
    ]
    assert watched.judge(ticks=152, sent_deg=row(2, 9.0)) is GOOD
    assert watched.told == ["stall"]


def test_a_joint_strains_by_its_current_too(watched: Watched) -> None:
    strained = replace(GOOD_SAMPLE, current_ma=row(2, -700.0))

    assert watched.judge(strained, ticks=31, sent_deg=row(2, -30.0)).not_below_deg[2] == (
        -STALL_BACK_OFF_DEG
    )


@pytest.mark.parametrize("sent_deg", [None, np.zeros(6)])
def test_a_joint_at_its_goal_does_not_stall(watched: Watched, sent_deg: FloatVector | None) -> None:
    strained = replace(GOOD_SAMPLE, load_pct=row(2, 90.0))

    assert watched.judge(strained, ticks=99, sent_deg=sent_deg) is GOOD


def test_a_joint_far_from_zero_at_its_goal_does_not_stall(watched: Watched) -> None:
    strained = replace(GOOD_SAMPLE, load_pct=row(2, 90.0), position_deg=row(2, 30.0))

    assert watched.judge(strained, ticks=99, sent_deg=row(2, 30.0)) is GOOD


def test_a_joint_that_moves_does_not_stall(watched: Watched) -> None:
    moving = replace(GOOD_SAMPLE, load_pct=row(2, 90.0), velocity_deg_s=row(2, 5.0))

    assert watched.judge(moving, ticks=99, sent_deg=row(2, 30.0)) is GOOD


def test_a_grip_is_loosened_told_once_and_no_fault(watched: Watched) -> None:
    held = replace(GOOD_SAMPLE, load_pct=row(GRIPPER, -39.1), position_deg=row(GRIPPER, 30.0))

    health = watched.judge(held, ticks=101, sent_deg=row(GRIPPER, 20.0))

    assert health.response is GO
    assert health.speed_factor == 1.0
    assert health.not_below_deg[GRIPPER] == pytest.approx(25.0)
    assert [finding.sentence for finding in health.findings] == [
        "the gripper holds on with less force, so as not to trip"
    ]
    again = watched.judge(held, ticks=50, sent_deg=row(GRIPPER, 25.0))
    assert again.findings == health.findings
    assert watched.told == ["grip"]
    opened = replace(GOOD_SAMPLE, position_deg=row(GRIPPER, 30.0))
    assert watched.judge(opened, ticks=1, sent_deg=row(GRIPPER, 40.0)) is GOOD


# --- anything ------------------------------------------------------------------------------------

VALUES = st.lists(st.floats(-200.0, 200.0), min_size=6, max_size=6)


@given(
    st.lists(
        st.tuples(VALUES, VALUES, VALUES, st.lists(st.integers(0, 63), min_size=6, max_size=6)),
        min_size=1,
        max_size=15,
    )
)
def test_whatever_servos_say_only_the_two_faults_are_raised(
    samples: list[tuple[list[float], list[float], list[float], list[int]]],
) -> None:
    watched = Watched()
    for one, two, three, status in samples:
        sample = replace(
            GOOD_SAMPLE,
            position_deg=np.array(one),
            velocity_deg_s=np.array(two),
            load_pct=np.array(three),
            voltage_v=np.abs(one) / 10.0,
            temperature_celsius=np.abs(two),
            current_ma=np.array(three) * 10.0,
            status=tuple(status),
        )
        try:
            health = watched.judge(sample, ticks=12, sent_deg=np.array(two))
        except (ServoFault, JointLost):
            continue
        assert health.response is max((found.response for found in health.findings), default=GO)
        assert (health.speed_factor == 1.0) is (health.response < DERATE)


# --- emulated servos with locked shafts ----------------------------------------------------------


class FixedGoals:
    def __init__(self, goal_deg: FloatVector) -> None:
        self._goal_deg = goal_deg

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        return Goal(self._goal_deg, now_s)


class Ticks(list[Tick]):
    def on_tick(self, tick: Tick) -> None:
        self.append(tick)


def drive(bench: ArmBench, away_deg: FloatVector, seconds: float) -> list[Tick]:
    """Ask for goals away from where the shafts are locked, for a while."""
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    follower.torque_on()
    goal_deg = follower.read().position_deg + away_deg
    until_s = bench.clock.now_s() + seconds
    ticks = Ticks()
    turn_until(
        lambda: bench.clock.now_s() >= until_s,
        arm=follower,
        source=FixedGoals(goal_deg),
        monitor=HealthMonitor(),
        limiter=GoalLimiter(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=270.0),
        listeners=[ticks],
        rate_hz=RATE_HZ,
        clock=bench.clock,
    )
    return ticks


def test_a_grip_outlasts_the_servos_own_protection(bench: ArmBench) -> None:
    ticks = drive(bench, row(GRIPPER, -20.0), 30.0)

    loads = np.array([abs(tick.observed.load_pct[GRIPPER]) for tick in ticks])
    assert loads.max() > 2 * SQUEEZE_LOAD_PCT  # it squeezed
    assert np.all(np.abs(loads[300:] - GRIP_LOAD_PCT) < 3.0)  # and holds on
    assert not any(tick.observed.status[GRIPPER] & OVERLOAD for tick in ticks)


def test_a_blocked_joint_is_backed_off_and_tries_again(bench: ArmBench) -> None:
    ticks = drive(bench, row(2, 30.0), 12.0)

    loads = np.array([abs(tick.observed.load_pct[2]) for tick in ticks])
    told = [(finding.kind, finding.response) for tick in ticks for finding in tick.news]
    # Once, though it tried more than once, and once more when it did not stop trying.
    assert told == [("stall", WARN), ("stall", DERATE)]
    assert np.count_nonzero(np.diff((loads > 60.0).astype(int)) == 1) >= 3
    assert np.count_nonzero(loads > 60.0) < len(loads) / 2
    assert not any(tick.observed.status[2] for tick in ticks)


def test_a_latched_overload_is_cleared_by_yielding(bench: ArmBench) -> None:
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    follower.torque_on()
    start = follower.read().position_deg
    monitor = HealthMonitor()
    limiter = GoalLimiter(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=270.0)
    healths: list[Health] = []
    for tick in range(30):
        if tick == 10:
            bench.bank.motors[1].status |= OVERLOAD_BIT
        now_s = bench.clock.now_s()
        observed = follower.read()
        healths.append(monitor.judge(observed, limiter.last_sent_deg, now_s))
        goal = Goal(start + row(1, 2.0), now_s)
        sent = limiter.limit(goal, observed, healths[-1], now_s)
        if healths[-1].yielding[1]:
            assert sent[1] == pytest.approx(observed.position_deg[1])
        follower.send_deg(sent)
        bench.clock.sleep_until(now_s + TICK_S)

    assert sum(bool(health.yielding[1]) for health in healths) == 1
    assert follower.read().status[1] == 0


def test_a_joint_that_carries_more_than_it_can_does_not_sink_and_bounce() -> None:
    start = np.array([0.0, 30.0, -30.0, 0.0, 0.0, 20.0])
    world = WorldBench(arm_deg=start)
    begin_s = world.clock.now_s()
    ticks: list[Tick] = []

    class Ticks:
        def on_tick(self, tick: Tick) -> None:
            ticks.append(tick)
            if len(ticks) == 100:
                world.clock.bank.push(2, 1.2)

    class Stays:
        def goal(self, observed: JointSample, now_s: float) -> Goal:
            return Goal(start, now_s)

    turn_until(
        lambda: world.clock.now_s() > begin_s + 7.0,
        arm=world.follower,
        source=Stays(),
        monitor=HealthMonitor(),
        limiter=GoalLimiter(world.calibration, rate_hz=RATE_HZ, max_speed_deg_s=270.0),
        listeners=[Ticks()],
        rate_hz=RATE_HZ,
        clock=world.clock,
    )

    told = [(finding.kind, finding.response) for tick in ticks for finding in tick.news]
    places = np.array([tick.observed.position_deg[1] for tick in ticks])
    assert told == [("stall", WARN), ("stall", DERATE)]
    assert places.max() < 52.0  # 44 where it first came to a stand
    assert np.ptp(places[400:]) < 1.0
