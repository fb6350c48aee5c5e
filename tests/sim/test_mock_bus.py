"""The mock bus: two arms in a process of their own, and what it notes about who drives them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from robot.bus import ServoBus
from robot.clock import MonotonicClock, Pacer
from robot.devices import open_devices
from robot.errors import ConfigError, NotConnected
from robot.joints import JOINTS, SERVO_IDS
from robot.packets import BlockRead
from robot.port import ServoPort
from robot.registers import PRESENT_POSITION, STATE_BLOCK
from robot.rig import ArmProfile, RigProfile
from sim.faults import Fault
from sim.mock_arms import LeaderScript, goal_ticks, new_bank
from sim.mock_bus_client import MockBusProcess
from sim.mock_messages import Move
from sim.servo import ServoBank

CLOCK = MonotonicClock()
RIG = RigProfile(1, "mocked", ArmProfile("twin:leader", "l"), ArmProfile("twin:follower", "f"))


def positions(bank: ServoBank) -> list[int]:
    return [bank.register(i, PRESENT_POSITION) for i in SERVO_IDS]


def bus_at(path: str) -> ServoBus:
    return ServoBus(ServoPort.open(path, CLOCK), CLOCK)


@pytest.fixture(scope="module")
def mock() -> Iterator[MockBusProcess]:
    with MockBusProcess("--name", "mocked") as process:
        yield process


# -- in this process ----------------------------------------------------------------------------


def test_calibrated_servos_read_the_middle_of_their_range(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    table = {
        name: {
            "id": servo_id, "drive_mode": 0, "homing_offset": 100 * servo_id,
            "range_min": 700, "range_max": 3000 + servo_id,
        }
        for servo_id, name in zip(SERVO_IDS, JOINTS, strict=True)
    }  # fmt: skip
    path.write_text(json.dumps(table))
    bank = new_bank(path, is_leader=False)

    assert positions(bank) == [(700 + 3000 + i) // 2 for i in SERVO_IDS]
    bank.power_cycle()  # it is in their flash
    assert positions(bank) == [(700 + 3000 + i) // 2 for i in SERVO_IDS]
    with pytest.raises(ConfigError, match="no calibration"):
        new_bank(tmp_path / "none.json", is_leader=False)


def test_a_leader_that_jumps_notes_when() -> None:
    bank = new_bank(None, is_leader=True)
    script = LeaderScript(bank)
    script.move(Move("jumps", size_ticks=8, period_s=0.2), now_s=1.0)
    assert script.due_s == pytest.approx(1.2)
    script.advance(1.19)
    assert positions(bank)[0] == 2048
    script.advance(1.2)

    assert positions(bank) == [2056, *[2048] * 5]
    assert [(change.time_s, change.ticks) for change in script.changes] == [(1.2, 8)]
    assert 0.1 <= script.due_s - 1.2 <= 0.3
    script.advance(script.due_s)
    assert positions(bank)[0] == 2048
    script.move(Move("still"), 2.0)
    assert script.due_s == float("inf")


def test_a_leader_that_swings_is_a_function_of_time() -> None:
    bank = new_bank(None, is_leader=True)
    script = LeaderScript(bank)
    script.move(Move("wave", size_ticks=100, period_s=2.0), now_s=0.0)
    script.advance(0.5)
    assert positions(bank) == [2148] * 6
    script.advance(1.5)

    assert positions(bank) == [1948] * 6


def test_goals_are_read_in_the_order_of_their_ids() -> None:
    assert goal_ticks(bytes((2, 0x10, 0x00, 1, 0x05, 0x80))) == [-5, 16]


# -- the process --------------------------------------------------------------------------------


@pytest.mark.realtime
def test_what_it_notes_of_a_loop(mock: MockBusProcess) -> None:
    mock.move("jumps", size_ticks=20, period_s=0.1)
    block = BlockRead(PRESENT_POSITION, SERVO_IDS)
    with bus_at(mock.ready.leader) as leader, bus_at(mock.ready.follower) as follower:
        began_s = mock.begin()
        pacer = Pacer(50.0, CLOCK)
        sent_s: list[float] = []
        ticks = [2048] * 6
        for _ in range(50):
            data = leader.read_block(block).data
            if len(data) == 6:  # on a busy machine a reply may come too late
                ticks = [int.from_bytes(data[i], "little") for i in SERVO_IDS]
            sent_s.append(CLOCK.now_s())
            follower.write_goals(ticks)
            pacer.wait()
        log = mock.log()
    mock.move("still")

    assert log.began_s == began_s < log.ended_s
    assert len(log.goals) == 50
    assert len(log.leader_reads_s) == pytest.approx(50, abs=5)
    assert len(log.pacing_s) == pytest.approx(50, abs=5)
    late_s = np.array([goal.time_s for goal in log.goals]) - sent_s
    assert late_s.min() > 26 * 10e-6 - 1e-6  # not before its last byte
    assert np.median(late_s) < 0.005
    assert len(log.changes) >= 3
    assert {goal.ticks[0] for goal in log.goals} == {2048, 2068}
    assert {tuple(goal.ticks[1:]) for goal in log.goals} == {(2048,) * 5}
    assert min(log.pacing_s) >= 0.0
    assert np.median(log.pacing_s) < 0.002
    assert 0.0 < log.cpu_s < 1.0


@pytest.mark.realtime
def test_a_block_takes_no_less_than_the_time_of_the_wire(mock: MockBusProcess) -> None:
    block = BlockRead(STATE_BLOCK, SERVO_IDS)
    with bus_at(mock.ready.follower) as follower:
        took_s: list[float] = []
        for _ in range(50):
            start_s = CLOCK.now_s()
            if len(follower.read_block(block).data) == 6:  # else too late, on a busy machine
                took_s.append(CLOCK.now_s() - start_s)

    assert len(took_s) > 5
    assert min(took_s) >= (14 + 6 * 21) * 10e-6 + 6 * 10e-6


@pytest.mark.realtime
def test_the_follower_follows_and_its_registers_are_read_beside_the_bus(
    mock: MockBusProcess,
) -> None:
    with bus_at(mock.ready.follower) as follower:
        follower.write_goals([2248] * 6)
        CLOCK.sleep_until(CLOCK.now_s() + 1.0)

        assert mock.registers("follower", "Torque_Enable") == [1] * 6
        assert all(2230 < p < 2260 for p in mock.registers("follower", "Present_Position"))
        follower.broadcast_torque_off()
        CLOCK.sleep_until(CLOCK.now_s() + 0.1)
        assert mock.registers("follower", "Torque_Enable") == [0] * 6
    with pytest.raises(ConfigError, match="there is no register 'Happiness'"):
        mock.registers("follower", "Happiness")


@pytest.mark.realtime
def test_devices_find_it_and_find_it_again(mock: MockBusProcess) -> None:
    devices = open_devices(RIG, mock.ready.pid)
    assert devices.port_path("twin:follower") == mock.ready.follower
    mock.inject(Fault("unplug"))
    CLOCK.sleep_until(CLOCK.now_s() + 0.1)
    with pytest.raises(NotConnected, match="the twin's follower is unplugged"):
        devices.port_path("twin:follower")
    mock.clear_faults()
    CLOCK.sleep_until(CLOCK.now_s() + 0.1)
    path = devices.port_path("twin:follower")

    assert path == mock.paths().follower != ""
    mock.inject(Fault("mute", servo=4), "leader")
    mock.stamp(is_on=True)
    with bus_at(path) as follower, bus_at(mock.ready.leader) as leader:
        block = BlockRead(STATE_BLOCK, SERVO_IDS)
        reply = follower.read_block(block)
        clock_ms = int.from_bytes(reply.data[3][11:13], "little")
        age_ms = (CLOCK.now_s() * 1000 - clock_ms) % 65536
        assert 0.0 <= age_ms < 500.0
        assert set(leader.read_block(block).data) == set(SERVO_IDS) - {4}
    mock.stamp(is_on=False)
    mock.clear_faults()


@pytest.mark.realtime
def test_it_ends_with_its_input_and_leaves_nothing() -> None:
    with MockBusProcess("--name", "brief") as process:
        path = Path(process.ready.follower)
        made_ns = path.stat().st_ctime_ns

    # One of its name may already be somebody else's, and younger.
    assert not path.exists() or path.stat().st_ctime_ns != made_ns
    with pytest.raises(NotConnected):
        open_devices(RIG, process.ready.pid)
    with pytest.raises(NotConnected):
        MockBusProcess("--leader-calibration", "/nowhere.json")
