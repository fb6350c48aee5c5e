"""The twin in real time: what it announces and serves, and that it leaves nothing behind."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from robot.bus import ServoBus
from robot.camera import open_camera
from robot.clock import MonotonicClock
from robot.devices import SystemDevices, TwinDevices
from robot.errors import CameraLost, NotConnected
from robot.frames import CameraReader
from robot.joints import SERVO_IDS
from robot.packets import BlockRead
from robot.port import ServoPort
from robot.registers import (
    HOMING_OFFSET,
    LOCK,
    MODEL_NUMBER,
    MODEL_NUMBER_STS3215,
    PRESENT_POSITION,
    STATE_BLOCK,
)
from robot.rig import CameraProfile
from robot.run_folder import CameraEntry, TwinManifest, read_manifest, running_twins
from sim.faults import Fault
from sim.twin_control import connect_control

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(180)]

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CLOCK = MonotonicClock()
GONE_WITHIN_S = 5.0
START_S = 60.0

PROFILE = """
schema = 1
name = "{name}"
leader = {{ port = "twin:leader", id = "l" }}
follower = {{ port = "twin:follower", id = "f" }}
[cameras.wrist]
address = "twin:wrist"
width = 320
height = 240
fps = 30
[cameras.front]
address = "twin:front"
width = 160
height = 120
fps = 15
[twin]
eeprom_file = "{eeprom}"
"""


@dataclass
class RunningTwin:
    """A twin started by a test: its process, its first line, and where its run folders are."""

    process: "subprocess.Popen[bytes]"
    line: dict[str, dict[str, object]]
    runtime: Path

    @property
    def manifest(self) -> TwinManifest:
        (folder,) = (self.runtime / "so101").glob(f"*-{self.process.pid}")
        return read_manifest(folder / "manifest.json")

    def tree(self) -> list[int]:
        """Return the live processes that carry this twin's runtime folder in their environment."""
        marker = f"XDG_RUNTIME_DIR={self.runtime}\0".encode()
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if marker in (entry / "environ").read_bytes() and _state(entry) != "Z":
                    found.append(int(entry.name))
            except OSError:  # it ended while we looked
                continue
        return found

    def view(self, name: str) -> CameraReader:
        entry = self.manifest.cameras[name]
        return open_camera(name, CameraProfile("", entry.width, entry.height), entry.http, CLOCK)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningTwin]]:
    """Start twins that a test may end as it likes."""
    with _starting(tmp_path) as start_one:
        yield start_one


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTwin]:
    """Start one twin for the tests that only look."""
    with _starting(tmp_path_factory.mktemp("shared")) as start_one:
        yield start_one("--hand", "sweep", name="shared")


@contextmanager
def _starting(tmp_path: Path) -> Iterator[Callable[..., RunningTwin]]:
    """Give a function that starts twins, each in a runtime folder of its own; ends them all."""
    running: list[RunningTwin] = []
    made: list[Path] = []

    def start_one(*flags: str, name: str = "bench", runtime: Path | None = None) -> RunningTwin:
        rig = tmp_path / f"{name}.toml"
        rig.write_text(PROFILE.format(name=name, eeprom=tmp_path / f"{name}.json"))
        if runtime is None:
            runtime = Path(tempfile.mkdtemp(prefix="so101r-"))  # short: it holds sockets
            made.append(runtime)
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts", "twin", "--json", "--rig", str(rig), *flags],
            cwd=CHECKOUT,
            env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        twin = RunningTwin(process, {}, runtime)
        running.append(twin)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_S)[0], "the twin says nothing"
        twin.line = json.loads(process.stdout.readline())
        return twin

    try:
        yield start_one
    finally:
        for twin in running:
            twin.process.kill()
            twin.process.wait()
            for stream in (twin.process.stdin, twin.process.stdout, twin.process.stderr):
                if stream is not None:
                    stream.close()
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)


def bus_at(path: object) -> ServoBus:
    port = ServoPort.open(str(path), CLOCK)
    port.margin_s = 0.3  # a busy machine is not what these tests are about
    return ServoBus(port, CLOCK)


def wait_for(condition: Callable[[], bool], limit_s: float = GONE_WITHIN_S) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def listening(port: int) -> bool:
    """Tell whether a TCP port of 127.0.0.1 is listened on (state 0A of /proc/net/tcp)."""
    wanted = f"0100007F:{port:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == wanted and row[3] == "0A" for row in rows)


def tcp_ports(cameras: dict[str, CameraEntry]) -> set[int]:
    http = {int(entry.http.rpartition(":")[2].partition("/")[0]) for entry in cameras.values()}
    return http | {entry.zmq.port for entry in cameras.values()}


def shared_memory_of(pids: list[int]) -> list[str]:
    maps = [(Path("/proc") / str(pid) / "maps").read_text() for pid in pids]
    return [
        line for text in maps for line in text.splitlines() if "/dev/shm" in line or "SYSV" in line
    ]


def _state(process: Path) -> str:
    return (process / "stat").read_text().rpartition(")")[2].split()[0]


def _is_another_or_gone(path: str, made_ns: int) -> bool:
    """Tell whether a pty is gone; one of its name may already be somebody else's, and younger."""
    try:
        return os.stat(path).st_ctime_ns != made_ns
    except FileNotFoundError:
        return True


def _signal(number: int) -> Callable[[RunningTwin], None]:
    return lambda twin: os.kill(twin.process.pid, number)


def _key(number: int) -> Callable[[RunningTwin], None]:
    """Return what a key of a terminal does: a signal to every process of the group."""

    def press(twin: RunningTwin) -> None:
        for pid in sorted(twin.tree()):
            os.kill(pid, number)

    return press


def _close_stdin(twin: RunningTwin) -> None:
    assert twin.process.stdin is not None
    twin.process.stdin.close()


WAYS_OUT: dict[str, tuple[Callable[[RunningTwin], None], int]] = {
    "SIGINT": (_signal(signal.SIGINT), 0),
    "SIGTERM": (_signal(signal.SIGTERM), 0),
    "SIGHUP": (_signal(signal.SIGHUP), 0),
    "Ctrl-\\": (_key(signal.SIGQUIT), 0),
    "Ctrl-Z": (_key(signal.SIGTSTP), 0),
    "SIGKILL": (_signal(signal.SIGKILL), -signal.SIGKILL),
    "end of standard input": (_close_stdin, 0),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_every_way_out_leaves_nothing_behind(start: Callable[..., RunningTwin], way: str) -> None:
    leave, expected_code = WAYS_OUT[way]
    twin = start("--until-stdin-closes")
    manifest = twin.manifest
    ports = tcp_ports(manifest.cameras)
    ptys = [manifest.leader.port, manifest.follower.port]
    made_at = {path: os.stat(path).st_ctime_ns for path in ptys}
    clients = [bus_at(path) for path in ptys]
    viewer = twin.view("wrist")
    tree = twin.tree()
    assert len(tree) == 2
    assert all(listening(port) for port in ports)
    assert str(twin.runtime) in Path("/proc/net/unix").read_text()
    assert shared_memory_of(tree) == []

    leave(twin)

    assert twin.process.wait(GONE_WITHIN_S) == expected_code
    assert wait_for(lambda: not twin.tree())
    assert wait_for(lambda: not any(listening(port) for port in ports))
    with pytest.raises(NotConnected):
        clients[0].port.receive(1, CLOCK.now_s() + 1.0)
    for client in clients:
        client.close()
    viewer.close()
    assert wait_for(lambda: all(_is_another_or_gone(path, made_at[path]) for path in ptys))
    assert str(twin.runtime) not in Path("/proc/net/unix").read_text()
    if way != "SIGKILL":  # a killed twin's folder is removed by the next one, see below
        assert list((twin.runtime / "so101").iterdir()) == []


def test_eeprom_outlives_a_killed_twin_and_its_folder_goes(
    start: Callable[..., RunningTwin], tmp_path: Path
) -> None:
    twin = start()
    with bus_at(twin.line["follower"]["port"]) as bus:
        bus.write(3, LOCK, 0)
        bus.write(3, HOMING_OFFSET, -321)
    assert wait_for((tmp_path / "bench.json").exists)
    twin.process.kill()
    twin.process.wait()

    again = start(runtime=twin.runtime)

    with bus_at(again.line["follower"]["port"]) as bus:
        assert bus.read(3, HOMING_OFFSET) == -321
    folders = [path.name for path in (twin.runtime / "so101").iterdir()]
    assert folders == [f"bench-{again.process.pid}"]


def test_a_dead_camera_process_ends_the_twin_with_a_sentence(
    start: Callable[..., RunningTwin],
) -> None:
    twin = start()
    viewer = twin.view("wrist")
    (camera_process,) = set(twin.tree()) - {twin.process.pid}
    os.kill(camera_process, signal.SIGKILL)
    code = twin.process.wait(GONE_WITHIN_S)
    assert twin.process.stderr is not None
    words = twin.process.stderr.read().decode()

    assert code == 2
    assert words.strip().endswith("camera process ended unexpectedly; start the twin again")
    assert twin.tree() == []
    assert wait_for(lambda: _has_broken_off(viewer))
    viewer.close()


def _has_broken_off(viewer: CameraReader) -> bool:
    try:
        viewer.take()
    except CameraLost as error:
        return "camera 'wrist' at http" in str(error) and "broke off" in str(error)
    return False


def test_first_line_has_exactly_the_addresses(twin: RunningTwin) -> None:
    assert list(twin.line) == ["leader", "follower", "cameras"]
    assert set(twin.line["leader"]) == set(twin.line["follower"]) == {"port"}
    wrist = twin.line["cameras"]["wrist"]
    assert isinstance(wrist, dict)
    assert set(wrist) == {"http", "zmq", "width", "height", "fps"}
    assert set(wrist["zmq"]) == {"server_address", "port", "camera_name"}
    assert (wrist["width"], wrist["height"], wrist["fps"]) == (320, 240, 30)


def test_the_manifest_says_the_same_and_more(twin: RunningTwin) -> None:
    manifest = msgspec.to_builtins(twin.manifest)

    assert {key: manifest[key] for key in twin.line} == twin.line
    assert (manifest["schema"], manifest["rig"]) == (1, "shared")
    assert manifest["pid"] == twin.process.pid


def test_another_twin_runs_beside_it_paced_and_ends_by_itself(
    twin: RunningTwin, start: Callable[..., RunningTwin]
) -> None:
    other = start("--pace-1mbps", "--duration-s", "1.5", name="two", runtime=twin.runtime)
    paths = [each.line[arm]["port"] for each in (twin, other) for arm in ("leader", "follower")]
    assert len(set(map(str, paths))) == 4
    for path in paths:
        with bus_at(path) as bus:
            assert [bus.read(i, MODEL_NUMBER) for i in SERVO_IDS] == [MODEL_NUMBER_STS3215] * 6

    assert other.process.wait(START_S) == 0
    assert other.process.stdout is not None
    assert other.process.stdout.read() == b""
    assert twin.process.poll() is None


def test_streams_carry_capture_times_on_the_frame_grid(twin: RunningTwin) -> None:
    control = connect_control(twin.manifest.control)
    control.set_hand("follower", "sweep")
    readers = {name: twin.view(name) for name in ("wrist", "front")}
    time.sleep(1.5)
    control.close()
    frames = {name: reader.take() for name, reader in readers.items()}
    now_s = CLOCK.now_s()
    for reader in readers.values():
        reader.close()

    for name, period_s in (("wrist", 1 / 30), ("front", 1 / 15)):
        times_s = np.array([frame.capture_s for frame in frames[name]])
        numbers = np.array([frame.sequence for frame in frames[name]])
        assert len(times_s) >= 4
        assert np.all(np.diff(times_s) > 0)
        assert np.all(np.diff(numbers) > 0)
        # The time of a picture is that of its state: on the camera's grid whatever rendering took.
        assert np.diff(times_s) == pytest.approx(np.diff(numbers) * period_s, abs=0.0025)
        assert now_s - 4.0 < times_s[0] < times_s[-1] < now_s
    assert len({frame.jpeg for frame in frames["wrist"]}) > 1


def test_faults_of_the_command_line_and_of_the_control_socket(
    start: Callable[..., RunningTwin], monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = start("--fault", "mute servo=2 arm=leader", "--fault", "error servo=3 error_bits=2")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(twin.runtime))
    (manifest,) = running_twins()
    devices = TwinDevices(manifest, SystemDevices())
    control = connect_control(manifest.control)
    assert control.status().faults == {
        "leader": ["mute servo=2"],
        "follower": ["error servo=3 error_bits=2"],
    }
    with bus_at(devices.port_path("twin:leader")) as leader:
        replies = leader.read_block(BlockRead(STATE_BLOCK, SERVO_IDS))
        assert set(replies.data) == {1, 3, 4, 5, 6}
    first = devices.port_path("twin:follower")
    follower = bus_at(first)
    assert follower.read_block(BlockRead(STATE_BLOCK, SERVO_IDS)).status[3] == 2

    control.clear_faults()
    control.inject(Fault("unplug", duration_s=0.5))

    def is_unplugged() -> bool:
        try:
            devices.port_path("twin:follower")
        except NotConnected as error:
            return "the twin's follower is unplugged" in str(error)
        return False

    assert wait_for(is_unplugged)
    with pytest.raises(NotConnected):
        follower.port.send(b"x")
    follower.close()
    assert wait_for(lambda: not is_unplugged())
    again = devices.port_path("twin:follower")
    assert again != first
    with bus_at(again) as follower:
        assert follower.read_block(BlockRead(STATE_BLOCK, SERVO_IDS)).status[3] == 0
    assert control.status().faults == {"leader": [], "follower": []}
    control.close()


def test_a_client_that_stalls_holds_up_nobody(twin: RunningTwin) -> None:
    address = twin.manifest.cameras["wrist"].http
    host, _, path = address.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port))) as stalled:
        stalled.sendall(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
        time.sleep(0.5)  # asks for pictures and takes none
        reader = twin.view("wrist")
        time.sleep(0.7)
        frames = reader.take()
        reader.close()

    assert len(frames) >= 4
    assert CLOCK.now_s() - frames[-1].capture_s < 2.5


def test_an_unknown_path_names_the_streams(twin: RunningTwin) -> None:
    address = twin.manifest.cameras["wrist"].http
    host, _, _ = address.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=10) as client:
        client.sendall(b"GET /top.mjpg HTTP/1.0\r\n\r\n")
        answer = client.makefile("rb").read().decode()

    assert answer.startswith("HTTP/1.0 404")
    assert "/wrist.mjpg, /front.mjpg" in answer


def test_zmq_pictures_are_in_lerobots_format(twin: RunningTwin) -> None:
    entry = twin.manifest.cameras["front"].zmq
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    subscriber.setsockopt(zmq.RCVTIMEO, 10_000)
    subscriber.connect(f"tcp://{entry.server_address}:{entry.port}")
    message = json.loads(subscriber.recv())
    subscriber.close(linger=0)
    context.term()

    assert set(message) == {"timestamps", "images"}
    assert set(message["images"]) == set(message["timestamps"]) == {"front"}
    assert message["images"]["front"].startswith("/9j/")  # FF D8 FF in base64
    # Seconds since 1970, as a file's times are.
    assert abs(message["timestamps"]["front"] - twin.runtime.stat().st_mtime) < 3600


def test_control_socket_and_bus_see_the_same_world(twin: RunningTwin) -> None:
    control = connect_control(twin.manifest.control)
    control.reset(5)
    control.set_hand("leader", "sweep")
    with bus_at(twin.line["leader"]["port"]) as bus:

        def ticks() -> list[int]:
            return [bus.read(i, PRESENT_POSITION) for i in SERVO_IDS]

        first = ticks()
        has_moved = wait_for(lambda: ticks() != first)
    status = control.status()
    control.close()

    assert has_moved
    assert not status.hand_done["leader"]
    assert abs(status.time_s - CLOCK.now_s()) < 1.0
