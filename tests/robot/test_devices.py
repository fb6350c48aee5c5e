"""Addresses of the rig profile: what they mean, and the sentence when they mean nothing."""

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from robot.devices import SystemDevices, TwinDevices, open_devices, uses_twin
from robot.errors import ConfigError, NotConnected
from robot.rig import ArmProfile, CameraProfile, RigProfile
from robot.run_folder import (
    SCHEMA,
    CameraEntry,
    PortEntry,
    RunFolder,
    TwinManifest,
    ZmqEntry,
    open_run_folder,
)

RIG = RigProfile(
    schema=1,
    name="desk",
    leader=ArmProfile("twin:leader", "l"),
    follower=ArmProfile("twin:follower", "f"),
    cameras={"wrist": CameraProfile("twin:wrist")},
)
REAL = msgspec.structs.replace(
    RIG,
    leader=ArmProfile("/dev/ttyACM0", "l"),
    follower=ArmProfile("/dev/ttyACM1", "f"),
    cameras={},
)


def manifest(pid: int = 0) -> TwinManifest:
    zmq = ZmqEntry("127.0.0.1", 5555, "wrist")
    wrist = CameraEntry("http://127.0.0.1:80/wrist.mjpg", zmq, 640, 480, 30)
    leader, follower = PortEntry("/dev/pts/98"), PortEntry("/dev/pts/99")
    return TwinManifest(
        SCHEMA, "desk", pid or os.getpid(), "ipc://x", leader, follower, {"wrist": wrist}
    )


@pytest.fixture(autouse=True)
def runtime(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))


def announce(pid: int = 0) -> RunFolder:
    folder = open_run_folder("desk")
    folder.write_manifest(manifest(pid))
    return folder


def test_tells_whether_a_profile_needs_a_twin() -> None:
    assert uses_twin(RIG)
    assert not uses_twin(REAL)
    assert isinstance(open_devices(REAL), SystemDevices)


def test_looks_twin_addresses_up_in_the_manifest_of_the_running_twin() -> None:
    with announce():
        devices = open_devices(RIG)

        assert devices.port_path("twin:leader") == "/dev/pts/98"
        assert devices.port_path("twin:follower") == "/dev/pts/99"
        assert devices.camera_address("twin:wrist") == "http://127.0.0.1:80/wrist.mjpg"
        assert [port.path for port in devices.ports()][:2] == ["/dev/pts/98", "/dev/pts/99"]
        assert "wrist camera of twin 'desk'" in devices.cameras()[0].description


def test_looks_again_where_a_replugged_arm_is() -> None:
    with announce() as folder:
        devices = open_devices(RIG)
        folder.write_manifest(msgspec.structs.replace(manifest(), follower=PortEntry("")))
        with pytest.raises(NotConnected, match="the twin's follower is unplugged; plug it in"):
            devices.port_path("twin:follower")
        assert [port.path for port in devices.ports()][:1] == ["/dev/pts/98"]
        folder.write_manifest(msgspec.structs.replace(manifest(), follower=PortEntry("/dev/new")))

        assert devices.port_path("twin:follower") == "/dev/new"
        assert devices.port_path("twin:leader") == "/dev/pts/98"
    with pytest.raises(NotConnected, match="the twin of the rig 'desk' has ended; start it again"):
        devices.port_path("twin:follower")
    assert "/dev/new" not in [port.path for port in devices.ports()]


def test_a_twin_passes_other_addresses_on_to_the_machine() -> None:
    devices = TwinDevices(manifest(), SystemDevices())

    assert devices.camera_address("http://camera.local/stream") == "http://camera.local/stream"
    with pytest.raises(NotConnected, match="/dev/nowhere does not exist"):
        devices.port_path("/dev/nowhere")


def test_says_how_to_start_a_twin_when_none_runs() -> None:
    with pytest.raises(
        NotConnected, match=r"no twin of the rig 'desk' is running; start it .* so101 twin"
    ):
        open_devices(RIG)
    with pytest.raises(NotConnected, match="'twin:leader' needs a running twin"):
        SystemDevices().port_path("twin:leader")


def test_refuses_to_guess_between_two_twins_of_one_name() -> None:
    with announce(), announce(pid=1):
        with pytest.raises(ConfigError, match="2 twins of the rig 'desk' are running"):
            open_devices(RIG)

        assert open_devices(RIG, twin_pid=1).port_path("twin:leader") == "/dev/pts/98"


def test_names_the_cameras_that_the_twin_has() -> None:
    devices = TwinDevices(manifest(), SystemDevices())

    with pytest.raises(ConfigError, match="has no 'top'; its cameras are wrist"):
        devices.camera_address("twin:top")


def test_an_ordinary_file_is_no_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    with pytest.raises(NotConnected, match="is no serial port but an ordinary file"):
        SystemDevices().port_path(str(path))


def test_lists_cameras_by_their_place_on_the_bus(tmp_path: Path) -> None:
    for name in (
        "pci-0-usb-0:1:1.0-video-index0",
        "pci-0-usb-0:1:1.0-video-index1",
        "pci-0-usb-0:2:1.0-video-index0",
    ):
        (tmp_path / name).symlink_to("/dev/null")
    devices = SystemDevices(by_path=tmp_path)

    assert [Path(camera.address).name for camera in devices.cameras()] == [
        "pci-0-usb-0:1:1.0-video-index0",
        "pci-0-usb-0:2:1.0-video-index0",
    ]
    with pytest.raises(NotConnected, match=r"there is: .*usb-0:1.*usb-0:2.*; plug the camera in"):
        devices.camera_address("/dev/video77")


def test_says_which_group_may_open_a_device() -> None:
    """Runs as an unprivileged user: root may open everything."""
    if os.getuid() != 0:
        pytest.skip(
            f"needs root to become another user; this is {pwd.getpwuid(os.getuid()).pw_name}"
        )
    leader, follower = os.openpty()
    path = os.ttyname(follower)
    os.chown(path, -1, grp.getgrnam("tty").gr_gid)
    os.chmod(path, 0o660)
    script = (
        "import os, sys; os.setgid(65534); os.setuid(65534)\n"
        "from robot.devices import SystemDevices; from robot.errors import NoPermission\n"
        "try: SystemDevices().port_path(sys.argv[1])\n"
        "except NoPermission as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", _imported_first(script), path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    os.close(leader)
    os.close(follower)

    assert f"you may not open the serial port {path}; it belongs to the group 'tty'" in done.stdout
    assert "sudo usermod -aG tty" in done.stdout


def _imported_first(script: str) -> str:
    """Import before dropping privileges: the checkout may lie where only root may read."""
    return "import robot.devices, robot.errors\n" + script
