"""Calibrate and teleop on the twin in virtual time: what they leave behind when it goes wrong."""

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from rich.console import Console

from calibration.sweep import SweepReading, sweep
from robot.arm import Follower
from robot.bus import ServoBus
from robot.clock import Clock
from robot.errors import CalibrationMismatch, ConfigError, NotConnected
from robot.joints import SERVO_IDS
from robot.registers import HOMING_OFFSET, TORQUE_ENABLE
from scripts import calibrate_command, record_command, teleop_command
from scripts.__main__ import main
from scripts.rig_session import Rig, open_rig
from scripts.stopping import StopRequest
from sim.memory_serial import MemorySerial


def write_profile(folder: Path, calibrations: Path) -> Path:
    arms = "".join(
        f'[{role}]\nport = "twin:{role}"\nid = "{role}"\ncalibration_dir = "{calibrations}"\n'
        for role in ("leader", "follower")
    )
    rig = folder / "rig.toml"
    twin = f'[twin]\nseed = 3\neeprom_file = "{folder}/eeprom"\n'
    rig.write_text(f'schema = 1\nname = "commands"\n{arms}{twin}')
    return rig


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the profile of a rig after `so101 calibrate`."""
    folder = tmp_path_factory.mktemp("rig")
    rig = write_profile(folder, folder / "calibration")
    assert calibrate_command.main(calibrate_command.Args(rig=rig, virtual=True)) == 0
    return rig


@pytest.fixture
def no_signal_kills() -> Iterator[None]:
    """Let a signal that a command does not catch fail the test, not end it."""

    def uncaught(number: int, _: object) -> None:
        pytest.fail(f"{signal.Signals(number).name} was not caught")

    old = signal.signal(signal.SIGTERM, uncaught)
    yield
    signal.signal(signal.SIGTERM, old)


def offsets(rig: Path) -> list[int]:
    with open_rig(rig, virtual=True, with_cameras=False) as opened:
        return [opened.leader_bus.read(i, HOMING_OFFSET) for i in SERVO_IDS]


def test_a_calibration_that_cannot_be_written_is_refused_before_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rig = write_profile(tmp_path, tmp_path / "file" / "calibration")

    with pytest.raises(ConfigError, match=r"the calibration .*file is a file; name another place"):
        calibrate_command.main(calibrate_command.Args(rig=rig, virtual=True))

    assert offsets(rig) == [0] * 6


@pytest.mark.usefixtures("no_signal_kills")
def test_a_stop_during_the_sweep_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_sweep(bus: ServoBus, clock: Clock) -> Iterator[SweepReading]:
        for index, reading in enumerate(sweep(bus, clock)):
            if index == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            assert index <= 5, "it went on"
            yield reading

    monkeypatch.setattr(calibrate_command, "sweep", stopped_sweep)
    rig = write_profile(tmp_path, tmp_path / "calibration")

    with pytest.raises(KeyboardInterrupt, match="nothing was stored"):
        calibrate_command.main(calibrate_command.Args(rig=rig, virtual=True))

    assert not (tmp_path / "calibration").exists()
    assert offsets(rig) == [0] * 6


def test_calibrate_takes_torque_off_even_where_a_servo_is_missing(tmp_path: Path) -> None:
    rig_path = write_profile(tmp_path, tmp_path / "calibration")
    with open_rig(rig_path, virtual=True, with_cameras=False) as rig:
        bus = rig.leader_bus
        for servo_id in SERVO_IDS:
            bus.write(servo_id, TORQUE_ENABLE, 1)
        bank = cast(MemorySerial, bus.port.ser)._bank
        bank.unplugged = {6}
        with pytest.raises(NotConnected, match="gripper"):
            calibrate_command.calibrate_arm(rig, "leader", Console(), 0.0, StopRequest())
        bank.unplugged = set()

        assert [bus.read(servo_id, TORQUE_ENABLE) for servo_id in SERVO_IDS[:5]] == [0] * 5


def test_a_calibration_edited_by_hand_is_refused(calibrated: Path, tmp_path: Path) -> None:
    source = calibrated.parent / "calibration"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / "follower.json"
    file.write_text(file.read_text().replace('"range_min": ', '"range_min": 1', 1))
    rig_path = write_profile(tmp_path, tmp_path)

    with open_rig(rig_path, virtual=True, with_cameras=False) as rig:
        rig.calibration("leader")
        with pytest.raises(
            CalibrationMismatch, match=r"edited by hand .*delete .*follower\.so101\.json to accept"
        ):
            rig.calibration("follower")
        (tmp_path / "follower.so101.json").unlink()
        rig.calibration("follower")


@pytest.mark.usefixtures("no_signal_kills")
@pytest.mark.parametrize(
    ("module", "words"),
    [
        (teleop_command, ["teleop"]),
        (record_command, ["record", "--output", "{folder}/data", "--demonstrator"]),
    ],
    ids=["teleop", "record"],
)
def test_a_stop_while_everything_is_set_up_powers_nothing(
    module: ModuleType,
    words: list[str],
    calibrated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    powered: list[Follower] = []
    open_follower = Rig.open_follower

    @contextmanager
    def open_virtual_rig(path: Path, *, with_cameras: bool = True) -> Generator[Rig]:
        with open_rig(path, virtual=True, with_cameras=with_cameras) as rig:
            yield rig

    def stopped_open(rig: Rig) -> Follower:
        follower = open_follower(rig)
        os.kill(os.getpid(), signal.SIGTERM)
        return follower

    monkeypatch.setattr(module, "open_rig", open_virtual_rig)
    monkeypatch.setattr(Rig, "open_follower", stopped_open)
    monkeypatch.setattr(Follower, "torque_on", powered.append)
    words = [word.format(folder=tmp_path) for word in words]

    assert main([*words, "--rig", str(calibrated)]) == 0
    assert powered == []
    assert "follower torque: off (read back)" in capsys.readouterr().out


class SetClock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = max(self.time_s, deadline_s)


def test_the_duration_begins_when_the_loop_does() -> None:
    clock = SetClock()
    is_time_up = teleop_command.TimeUp(clock, 2.0)
    clock.time_s += 60.0  # a slow set-up

    assert not is_time_up()
    clock.time_s += 1.9
    assert not is_time_up()
    clock.time_s += 0.2
    assert is_time_up()
    assert not teleop_command.TimeUp(clock, 0.0)()
