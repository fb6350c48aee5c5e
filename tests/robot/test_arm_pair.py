"""Both arms on one tick: two buses at work at the same time, and what a lost leader costs."""

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench

from robot.arm import Follower, Leader
from robot.arm_pair import ArmPair
from robot.errors import NotConnected, ServoTimeout
from robot.joints import SERVO_IDS
from robot.registers import TORQUE_ENABLE
from sim.faults import Fault


@pytest.fixture
def leader_bench(bench: ArmBench) -> ArmBench:
    return ArmBench(clock=bench.clock)


@pytest.fixture
def pair(bench: ArmBench, leader_bench: ArmBench) -> ArmPair:
    for each in (bench, leader_bench):
        each.calibrate()
    leader = Leader.open(leader_bench.bus, CALIBRATION)
    return ArmPair(leader, Follower.open(bench.bus, CALIBRATION, bench.clock))


def test_a_tick_takes_as_long_as_the_slower_bus(bench: ArmBench, pair: ArmPair) -> None:
    began_s = bench.clock.now_s()
    pair.follower.read()
    alone_s = bench.clock.now_s() - began_s

    began_s = bench.clock.now_s()
    pair.read()

    assert bench.clock.now_s() - began_s == pytest.approx(alone_s, abs=1e-5)


def test_the_leader_is_read_once_a_tick_and_positions_only(
    leader_bench: ArmBench, pair: ArmPair
) -> None:
    pair.read()
    sent = len(leader_bench.line.sent)

    first, second = pair.read_leader(), pair.read_leader()

    assert len(leader_bench.line.sent) == sent
    assert first is second
    assert np.all(np.isfinite(first.position_deg))
    assert np.all(np.isfinite(first.time_s))
    assert np.all(np.isnan([first.load_pct, first.voltage_v, first.current_ma]))
    assert np.all(np.isnan([first.temperature_celsius, first.velocity_deg_s]))


def test_a_lost_leader_is_told_to_who_asks_for_it_and_the_follower_goes_on(
    leader_bench: ArmBench, pair: ArmPair
) -> None:
    pair.torque_on()
    pair.read()
    leader_bench.line.faults.add(Fault("unplug"))

    sample = pair.read()

    assert np.all(np.isfinite(sample.position_deg))
    with pytest.raises(NotConnected, match="went away"):
        pair.read_leader()
    assert pair.reconnect()  # the follower's adapter is there
    assert np.all(pair.read().time_s > sample.time_s)
    assert pair.release().is_off


def test_a_silent_leader_servo_is_told_to_who_asks_for_it(
    bench: ArmBench, leader_bench: ArmBench, pair: ArmPair
) -> None:
    leader_bench.line.faults.add(Fault("mute", servo=2))
    for _ in range(60):
        pair.read()
        bench.clock.sleep_until(bench.clock.now_s() + 0.01)

    with pytest.raises(ServoTimeout, match=r"shoulder_lift \(servo 2\) of the leader.*silent"):
        pair.read_leader()


def test_a_follower_that_was_unplugged_leaves_no_reply_of_the_leader_behind(
    bench: ArmBench, leader_bench: ArmBench, pair: ArmPair
) -> None:
    pair.read()
    bench.line.faults.add(Fault("unplug"))
    with pytest.raises(NotConnected):
        pair.read()

    assert leader_bench.bus.read(1, TORQUE_ENABLE) == 0
    assert len(leader_bench.bus.counters.timeouts) == 0


def test_only_the_follower_is_ever_powered(
    bench: ArmBench, leader_bench: ArmBench, pair: ArmPair
) -> None:
    pair.torque_on()
    pair.send_deg(np.zeros(6))
    pair.set_torque_limit_pct(50.0)
    assert pair.restore_power() == ()

    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [1] * 6
    assert [leader_bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
    pair.sink(bench.clock)
    assert pair.release().is_off
    assert pair.torque_state.is_off
