"""The virtual twin: deterministic, lazy with pictures, and its servos remember."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from robot.bus import ServoBus
from robot.clock import Pacer
from robot.errors import ConfigError, NotConnected, So101Error, StorageFull, UnsupportedSchema
from robot.joints import SERVO_IDS
from robot.packets import BlockRead
from robot.port import ServoPort
from robot.registers import GOAL_POSITION, HOMING_OFFSET, LOCK, PRESENT_POSITION, TORQUE_ENABLE
from robot.rig import ArmProfile, CameraProfile, RigProfile, TwinProfile
from sim.faults import Fault
from sim.twin import VirtualRig, open_virtual
from sim.twin_control import TwinControl
from sim.twin_core import HandName

PROFILE = RigProfile(
    schema=1,
    name="test",
    leader=ArmProfile("twin:leader", "l"),
    follower=ArmProfile("twin:follower", "f"),
    cameras={
        "wrist": CameraProfile("twin:wrist", 64, 48, 30),
        "front": CameraProfile("twin:front", 64, 48, 30),
    },
    twin=TwinProfile(),
)
BLIND = msgspec.structs.replace(PROFILE, cameras={})


def with_twin(profile: RigProfile, **changes: object) -> RigProfile:
    assert profile.twin is not None
    return msgspec.structs.replace(profile, twin=msgspec.structs.replace(profile.twin, **changes))


@pytest.fixture
def rig() -> Iterator[VirtualRig]:
    with open_virtual(BLIND) as opened:
        yield opened


def bus_of(rig: VirtualRig, arm: str = "follower") -> ServoBus:
    line = rig.follower_serial if arm == "follower" else rig.leader_serial
    return ServoBus(ServoPort(line, arm, rig.clock), rig.clock)


def teleoperate(
    seed: int, duration_s: float
) -> tuple[bytes, bytes, list[tuple[int, float, bytes]]]:
    """Follow a demonstrator's leader tick by tick; returns both buses' bytes and all pictures."""
    with open_virtual(with_twin(PROFILE, seed=seed)) as rig:
        rig.control.reset(seed)
        rig.control.set_hand("leader", "demonstrator", seed)
        leader, follower = bus_of(rig, "leader"), bus_of(rig)
        block = BlockRead(PRESENT_POSITION, SERVO_IDS)
        pacer = Pacer(100.0, rig.clock)
        pictures: list[tuple[int, float, bytes]] = []
        end_s = rig.clock.now_s() + duration_s
        while rig.clock.now_s() < end_s:
            read = leader.read_block(block)
            follower.read_block(block)
            follower.write_goals([int.from_bytes(read.data[i], "little") for i in SERVO_IDS])
            for camera in rig.cameras.values():
                pictures += [(f.sequence, f.capture_s, f.jpeg) for f in camera.take()]
            pacer.wait()
        bytes_of = [
            bytes(line.sent + line.received) for line in (rig.leader_serial, rig.follower_serial)
        ]
    return bytes_of[0], bytes_of[1], pictures


def test_two_runs_from_one_seed_give_identical_bytes_and_pictures() -> None:
    first, second, other = (teleoperate(seed, 0.6) for seed in (3, 3, 4))

    assert len(first[0]) == 60 * (14 + 48) + 8 + 9  # the first transaction looks for an echo
    assert len(first[2]) == 2 * 17
    assert first == second
    assert first[0] != other[0]
    assert first[2] != other[2]


def test_time_is_finer_than_the_worlds_steps(rig: VirtualRig) -> None:
    rig.clock.sleep_until(0.01234)

    assert rig.clock.now_s() == 0.01234
    assert rig.twin.now_s == pytest.approx(0.012, abs=1e-12)


def test_a_deadline_in_the_past_moves_nothing(rig: VirtualRig) -> None:
    rig.clock.sleep_until(0.5)
    rig.clock.sleep_until(0.1)

    assert rig.clock.now_s() == 0.5


def test_steps_do_not_drift_over_a_long_time(rig: VirtualRig) -> None:
    for tick in range(1, 301):
        rig.clock.sleep_until(tick / 100)

    assert rig.twin.now_s == pytest.approx(3.0, abs=1e-9)


def test_pictures_are_due_every_frame_time_and_numbered() -> None:
    with open_virtual(PROFILE) as rig:
        rig.clock.sleep_until(0.35)
        frames = rig.cameras["wrist"].take()

    assert [frame.sequence for frame in frames] == list(range(10))
    # On the first millisecond at or after k/30 s.
    assert [frame.capture_s for frame in frames] == pytest.approx(
        [np.ceil(k * 1000 / 30) / 1000 for k in range(1, 11)]
    )
    assert {(frame.width, frame.height, frame.camera) for frame in frames} == {(64, 48, "wrist")}
    assert all(frame.jpeg.startswith(b"\xff\xd8") for frame in frames)


def test_the_newest_picture_is_there_without_taking_it() -> None:
    with open_virtual(PROFILE) as rig:
        camera = rig.cameras["front"]
        assert camera.latest() is None
        rig.clock.sleep_until(0.2)
        newest = camera.latest()
        frames = camera.take()

        assert newest is not None
        assert frames[-1].jpeg == newest.jpeg
        assert camera.take() == []
        assert camera.latest() is newest


def test_a_reader_that_does_not_look_loses_the_oldest_and_the_numbers_say_so() -> None:
    with open_virtual(PROFILE) as rig:
        rig.clock.sleep_until(3.0)
        camera = rig.cameras["wrist"]
        camera.take()
        rig.clock.sleep_until(6.0)
        numbers = [frame.sequence for frame in camera.take()]
        camera.close()
        camera.close()

        assert numbers == list(range(180 - 64, 180))
        assert camera.latest() is None


def test_nothing_is_rendered_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a renderer was opened")

    monkeypatch.setattr("sim.twin.Renderer", refuse)
    with open_virtual(PROFILE) as rig:
        rig.clock.sleep_until(0.5)


def test_the_follower_is_held_until_its_torque_goes_on(rig: VirtualRig) -> None:
    raised_rad = (0.0, -0.5, 0.0, 0.5, 0.0, 0.2)
    start = msgspec.structs.replace(rig.control.reset(7), arm_rad=raised_rad)
    rig.control.place(start)
    rig.clock.sleep_until(1.0)
    held_rad = rig.twin.follower.position_rad.copy()
    bus = bus_of(rig)
    for servo_id in SERVO_IDS:
        bus.write(servo_id, GOAL_POSITION, bus.read(servo_id, PRESENT_POSITION))
        bus.write(servo_id, TORQUE_ENABLE, 1)
    rig.clock.sleep_until(1.5)
    stiff_rad = rig.twin.follower.position_rad.copy()
    for servo_id in SERVO_IDS:
        bus.write(servo_id, TORQUE_ENABLE, 0)
    rig.clock.sleep_until(3.0)
    limp_rad = rig.twin.follower.position_rad.copy()

    assert held_rad == pytest.approx(start.arm_rad, abs=0.05)
    assert stiff_rad == pytest.approx(held_rad, abs=0.12)
    assert np.abs(limp_rad - stiff_rad).max() > 0.3


def test_a_placed_scene_is_the_one_that_was_asked_for(rig: VirtualRig) -> None:
    start = rig.control.reset(1)
    rig.control.reset(2)
    rig.control.place(start)

    assert rig.twin.follower.block_position_m("red")[:2] == pytest.approx(
        (start.red.x_m, start.red.y_m)
    )
    assert rig.twin.leader.position_rad == pytest.approx(start.arm_rad)
    assert rig.control.reset(1) == start


def test_status_tells_hands_and_task(rig: VirtualRig) -> None:
    rig.control.reset(1)
    rig.control.set_hand("follower", "none")
    before = rig.control.status()
    rig.control.set_hand("leader", "sweep")
    rig.clock.sleep_until(1.0)
    after = rig.control.status()

    assert before.hand_done == {"leader": False, "follower": True}
    assert after.hand_done == {"leader": False, "follower": True}
    assert after.time_s == 1.0
    assert not after.success
    assert after.red_height_m == pytest.approx(0.0125, abs=0.001)


@pytest.mark.parametrize(
    ("arm", "hand"), [("follower", "demonstrator"), ("leader", "foot"), ("third", "sweep")]
)
def test_refuses_hands_that_do_not_exist(rig: VirtualRig, arm: str, hand: HandName) -> None:
    control: TwinControl = rig.control

    with pytest.raises(ConfigError, match=r"the twin has no arm|there is no hand"):
        control.set_hand(arm, hand)  # type: ignore[arg-type]  # what a socket may bring


def test_servos_remember_across_processes_and_only_what_was_saved(tmp_path: Path) -> None:
    profile = with_twin(BLIND, eeprom_file=str(tmp_path / "deep" / "eeprom.json"))
    with open_virtual(profile) as rig:
        bus = bus_of(rig)
        bus.write(1, LOCK, 0)
        bus.write(1, HOMING_OFFSET, 123)
        bus.write(1, LOCK, 1)
        bus.write(2, HOMING_OFFSET, 99)  # the lock is closed: lost at power-off
    with open_virtual(profile) as rig:
        bus = bus_of(rig)
        kept, lost = bus.read(1, HOMING_OFFSET), bus.read(2, HOMING_OFFSET)
    with open_virtual(with_twin(profile, seed=5)) as rig:
        of_other_servos = bus_of(rig).read(1, HOMING_OFFSET)

    assert (kept, lost, of_other_servos) == (123, 0, 0)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["eeprom.json"]


def test_refuses_a_broken_and_a_newer_eeprom_file(tmp_path: Path) -> None:
    path = tmp_path / "eeprom.json"
    profile = with_twin(BLIND, eeprom_file=str(path))
    path.write_text('{"schema": 1')
    with pytest.raises(ConfigError, match="delete it to get factory-new servos"):
        open_virtual(profile)
    path.write_text('{"schema": 2, "seed": 0, "arms": {}}')
    with pytest.raises(UnsupportedSchema, match="schema 2"):
        open_virtual(profile)


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (errno.ENOSPC, StorageFull, "no space left to write the twin's EEPROM .*free some disk"),
        (errno.EACCES, ConfigError, "correct `eeprom_file` in the profile"),
    ],
)
def test_an_eeprom_that_cannot_be_kept_is_said_and_leaves_nothing_half_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[So101Error],
    sentence: str,
) -> None:
    rig = open_virtual(with_twin(BLIND, eeprom_file=str(tmp_path / "eeprom.json")))
    bus_of(rig).write(1, LOCK, 0)
    bus_of(rig).write(1, HOMING_OFFSET, 5)

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match=sentence):
        rig.close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        (msgspec.structs.replace(PROFILE, twin=None), "describes no twin; add a .twin. table"),
        (with_twin(PROFILE, task="fold_laundry"), "no task 'fold_laundry'; its tasks are pick_red"),
        (
            msgspec.structs.replace(PROFILE, cameras={"top": CameraProfile("twin:top")}),
            "no camera 'top'.*wrist, front",
        ),
        (
            msgspec.structs.replace(PROFILE, cameras={"wrist": CameraProfile("twin:wrist", fps=0)}),
            "fps is 0",
        ),
        (
            msgspec.structs.replace(
                PROFILE, cameras={"wrist": CameraProfile("twin:wrist", rotation_deg=180)}
            ),
            "rotation_deg = 0",
        ),
    ],
)
def test_refuses_what_the_twin_does_not_have(profile: RigProfile, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        open_virtual(profile)


def test_success_is_a_block_held_up_not_one_that_flies_past(rig: VirtualRig) -> None:
    """A block dropped from 0.3 m is up for 0.22 s, one dropped from 1.2 m for 0.48 s."""
    seen: list[bool] = []
    world = rig.twin.follower
    address = int(world.model.jnt_qposadr[world.model.body("red").jntadr[0]])
    for height_m in (0.3, 1.2):
        rig.control.reset(0)
        world.data.qpos[address + 2] = height_m
        rig.clock.sleep_until(rig.clock.now_s() + 0.1)
        assert rig.control.status().red_height_m > 0.06
        assert not rig.control.status().success
        rig.clock.sleep_until(rig.clock.now_s() + 0.7)
        seen.append(rig.control.status().success)

    assert seen == [False, True]
    rig.control.reset(0)
    assert not rig.control.status().success


# -- faults -------------------------------------------------------------------------------------


def test_faults_keep_virtual_time(rig: VirtualRig) -> None:
    bus = bus_of(rig)
    block = BlockRead(PRESENT_POSITION, SERVO_IDS)
    rig.control.inject(Fault("mute", servo=2, after_s=1.0, duration_s=1.0))
    rig.control.inject(Fault("mute", servo=3), "leader")

    heard: list[bool] = []
    for _ in range(3):
        heard.append(2 in bus.read_block(block).data)
        rig.clock.sleep_until(rig.clock.now_s() + 1.0)
    assert heard == [True, False, True]
    assert 3 not in bus_of(rig, "leader").read_block(block).data
    rig.control.clear_faults()
    assert 3 in bus_of(rig, "leader").read_block(block).data


def test_a_stretched_arm_that_loses_its_supply_falls(rig: VirtualRig) -> None:
    rig.clock.sleep_until(0.1)
    registers = rig.twin.follower_bank.register
    goals = [registers(i, PRESENT_POSITION) for i in SERVO_IDS]
    goals[1], goals[2] = goals[1] + 900, goals[2] - 900  # stretched forward, above the table
    bus_of(rig).write_goals(goals)
    rig.clock.sleep_until(rig.clock.now_s() + 2.0)
    held_rad = rig.twin.follower.position_rad.copy()
    rig.control.inject(Fault("brownout", duration_s=0.5))
    rig.clock.sleep_until(rig.clock.now_s() + 0.6)

    assert [registers(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
    assert abs(rig.twin.follower.position_rad - held_rad).max() > 0.05


def test_an_unplugged_arm_is_opened_anew_when_it_is_back(rig: VirtualRig) -> None:
    bus = bus_of(rig)
    rig.control.inject(Fault("unplug", duration_s=0.5))
    with pytest.raises(NotConnected, match="went away"):
        bus.read(1, PRESENT_POSITION)
    with pytest.raises(NotConnected, match="the follower of the twin is unplugged"):
        rig.open_line("follower")
    rig.clock.sleep_until(rig.clock.now_s() + 0.6)

    with pytest.raises(NotConnected, match="went away"):
        bus.read(1, PRESENT_POSITION)
    line = rig.open_line("follower")
    again = ServoBus(ServoPort(line, "follower", rig.clock), rig.clock)
    assert again.read(1, TORQUE_ENABLE) == 0
    assert rig.open_line("leader").is_open
