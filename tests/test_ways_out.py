"""Every way out of a command: an arm's torque off, read back, and nothing left behind.

Nothing is: no process, pty, local socket, listening port, run folder or shared memory.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from robot.arm import TORQUE_OFF, release_torque
from robot.bus import ServoBus
from robot.clock import MonotonicClock
from robot.joints import SERVO_IDS
from robot.port import ServoPort
from robot.registers import TORQUE_ENABLE

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(180)]

CHECKOUT = Path(__file__).resolve().parent.parent
START_S = 60.0
GONE_WITHIN_S = 5.0
PROFILE = """
schema = 1
name = "wayout"
[leader]
port = "twin:leader"
id = "leader"
calibration_dir = "{folder}"
[follower]
port = "twin:follower"
id = "follower"
calibration_dir = "{folder}"
[cameras.wrist]
address = "twin:wrist"
width = 160
height = 120
fps = 15
[twin]
eeprom_file = "{folder}/eeprom.json"
"""


@dataclass(frozen=True)
class Bench:
    """A calibrated twin that runs beside the command under test."""

    folder: Path
    rig: Path
    environment: dict[str, str]
    ports: set[str] = field(default_factory=set[str])  # on which anything here ever listened

    def command(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command of this project on this bench's rig."""
        return self.bare_command(*words, "--rig", str(self.rig))

    def bare_command(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command of this project without naming the rig."""
        return self.start("-m", "scripts", *words)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start Python in this bench's folder."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def torque(self, follower_port: str) -> list[int]:
        """Read the follower's torque registers from outside."""
        clock = MonotonicClock()
        with ServoBus(ServoPort.open(follower_port, clock), clock) as bus:
            return [bus.read(servo_id, TORQUE_ENABLE) for servo_id in SERVO_IDS]

    def processes(self) -> set[int]:
        """Return the live processes that carry this bench's runtime folder in their environment."""
        marker = f"XDG_RUNTIME_DIR={self.folder}\0".encode()
        found: set[int] = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                is_dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not is_dead and marker in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
        return found

    def traces(self) -> set[str]:
        """Name everything that a process tree may leave."""
        processes = self.processes()
        files = {name for pid in processes for name in open_files(pid)}
        listening = {
            f"socket:[{row[9]}]"
            for table in ("tcp", "tcp6")
            for row in map(str.split, Path("/proc/net", table).read_text().splitlines()[1:])
            if row[3] == "0A"
        }
        self.ports.update(files & listening)
        sockets = [
            row for row in Path("/proc/net/unix").read_text().split() if str(self.folder) in row
        ]
        return {
            *(f"process {pid}" for pid in processes),
            *(name for name in files if name.startswith("/dev/pt")),
            *(f"listening {name}" for name in self.ports & listening),
            *sockets,
            *(f"run folder {path.name}" for path in (self.folder / "so101").glob("*")),
            *(f"/dev/shm/{name}" for name in os.listdir("/dev/shm")),
        }

    def left_since(self, before: set[str]) -> set[str]:
        """Wait until nothing more is there than before; returns what stays."""
        wait_for(lambda: self.traces() <= before)
        return self.traces() - before


def open_files(pid: int) -> set[str]:
    """Return what the descriptors of a process lead to; nothing when it has just gone."""
    found: set[str] = set()
    try:
        for link in Path("/proc", str(pid), "fd").iterdir():
            found.add(os.readlink(link))
    except OSError:
        return found
    return found


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="so101w-"))
    rig = folder / "rig.toml"
    rig.write_text(PROFILE.format(folder=folder))
    (folder / "configs").symlink_to(CHECKOUT / "configs")
    environment = {"XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": str(CHECKOUT)}
    one = Bench(folder, rig, {**os.environ, **environment})
    calibrated = one.command("calibrate", "--virtual")
    said = calibrated.communicate(timeout=START_S)[0]
    assert calibrated.returncode == 0, said
    yield one
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def follower_port(bench: Bench) -> Iterator[str]:
    """Run the twin and give its follower's device."""
    twin = bench.command("twin", "--json")
    assert twin.stdout is not None
    line = read_until(twin, "follower")
    yield line.split('"follower":{"port":"')[1].split('"')[0]
    twin.send_signal(signal.SIGTERM)
    twin.communicate(timeout=GONE_WITHIN_S)


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """Return the first line with these words; fails when the process ends or stays silent."""
    assert process.stdout is not None
    said = ""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline()
            said += line
            if words in line:
                return line
            if not line:
                break
    raise AssertionError(f"'{words}' was never said:\n{said}")


def wait_for(condition: Callable[[], bool], within_s: float = GONE_WITHIN_S) -> bool:
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


COMMANDS = {
    "teleop": (["teleop", "--demonstrator"], "torque on"),
    "record": (
        ["record", "--demonstrator", "--no-export", "--output", "{folder}/data"],
        "recording episode",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_in_torque_off_read_back_and_shown(
    bench: Bench, follower_port: str, name: str, number: signal.Signals
) -> None:
    words, ready = COMMANDS[name]
    before = bench.traces()
    process = bench.command(*[word.format(folder=bench.folder) for word in words])
    read_until(process, ready)
    bench.traces()  # learns its ports

    process.send_signal(number)
    said = process.communicate(timeout=GONE_WITHIN_S)[0]

    assert process.returncode == 0, said
    assert f"follower torque: {TORQUE_OFF}" in said
    assert bench.torque(follower_port) == [0] * 6
    assert bench.left_since(before) == set()


def test_a_killed_command_leaves_no_process_behind(bench: Bench, follower_port: str) -> None:
    before = bench.traces()
    process = bench.command("teleop", "--demonstrator")
    read_until(process, "torque on")
    bench.traces()

    process.kill()
    process.communicate()

    assert bench.left_since(before) == set()
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(follower_port, clock), clock) as bus:
        assert release_torque(bus) == TORQUE_OFF


def test_a_twin_that_a_command_started_goes_with_it_even_when_it_is_killed(bench: Bench) -> None:
    process = bench.command("teleop", "--demonstrator")
    read_until(process, "torque on")
    during = bench.traces()
    assert sum(trace.startswith("process") for trace in during) >= 3  # command, twin, its cameras
    assert any(trace.startswith("listening") for trace in during)
    assert any(trace.startswith("/dev/pt") for trace in during)

    process.kill()
    process.communicate()

    assert wait_for(lambda: not bench.processes())
    assert not any(trace.startswith(("listening", "/dev/pt")) for trace in bench.traces())


def record_virtually(bench: Bench, output: Path) -> "subprocess.Popen[str]":
    """Start a long virtual recording; returns when both workers are in an episode."""
    words = ["--demonstrator", "--virtual", "--workers", "2", "--episodes", "500", "--no-export"]
    process = bench.command("record", "--output", str(output), *words)
    assert wait_for(lambda: len(list(output.glob("journals/*.part"))) == 2, START_S)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_virtual_recording_ends_with_its_workers(
    bench: Bench, tmp_path: Path, number: signal.Signals
) -> None:
    before = bench.traces()
    process = record_virtually(bench, tmp_path)
    assert len(bench.processes()) >= 3

    process.send_signal(number)
    process.communicate(timeout=GONE_WITHIN_S)

    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert bench.left_since(before) == set()


@pytest.fixture(scope="module")
def dataset(bench: Bench) -> Path:
    """Record two demonstrations and derive the dataset."""
    words = ["--demonstrator", "--virtual", "--workers", "1", "--episodes", "2"]
    recording = bench.command("record", "--output", "short", *words)
    said = recording.communicate(timeout=START_S)[0]
    assert recording.returncode == 0, said
    return bench.folder / "short" / "dataset"


@pytest.fixture(scope="module")
def interrupted_training(bench: Bench, dataset: Path) -> tuple[Path, int, str, set[str]]:
    """Begin a training, then TERM: output folder, exit code, last words and what is left."""
    output = bench.folder / "train"
    before = bench.traces()
    words = ["--steps", "100000", "--batch-size", "8", "--threads", "1"]
    training = bench.bare_command("train", str(dataset), "--output", str(output), *words)
    assert wait_for((output / "train_log.jsonl").exists, START_S)
    training.terminate()
    said = training.communicate(timeout=GONE_WITHIN_S)[0]
    return output, training.returncode, said, bench.left_since(before)


def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint_and_nothing_else(
    interrupted_training: tuple[Path, int, str, set[str]],
) -> None:
    output, code, said, left = interrupted_training

    assert code == 130, said
    assert "--resume" in said
    assert (output / "checkpoints" / "last" / "pretrained_model" / "model.safetensors").is_file()
    assert left == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_evaluation_ends_with_its_workers(
    bench: Bench,
    interrupted_training: tuple[Path, int, str, set[str]],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    before = bench.traces()
    words = ["--trials", "500", "--output", str(tmp_path / "results.json")]
    process = bench.command("evaluate", str(interrupted_training[0]), *words)
    assert wait_for(lambda: len(bench.traces() - before) >= 3, START_S)

    process.send_signal(number)
    process.communicate(timeout=GONE_WITHIN_S)

    assert bench.left_since(before) == set()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_step_releases_its_arm_when_its_starter_goes(
    bench: Bench, follower_port: str, number: signal.Signals, code: int
) -> None:
    before = bench.traces()
    program = "import sys; from scripts.steps import run_step; sys.exit(run_step(sys.argv[1:]))"
    starter = bench.start("-c", program, "teleop", "--demonstrator", "--rig", str(bench.rig))
    read_until(starter, "torque on")

    starter.send_signal(number)
    said = starter.communicate(timeout=GONE_WITHIN_S)[0]  # the step's words too: until it is gone

    assert starter.returncode == code, said
    assert f"follower torque: {TORQUE_OFF}" in said
    assert bench.torque(follower_port) == [0] * 6
    assert bench.left_since(before) == set()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGKILL, -9)],
)
def test_a_demo_ends_with_its_step(
    bench: Bench, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    before = bench.traces()
    demo = bench.bare_command("demo", "--quick", "--output", str(tmp_path / "demo"))
    assert wait_for(lambda: len(bench.processes()) >= 2, START_S)
    if number == signal.SIGKILL:  # deeper: the workers of its second step
        journals = tmp_path / "demo" / "data" / "journals"
        assert wait_for(lambda: any(journals.glob("*.part")), START_S)

    demo.send_signal(number)
    said = demo.communicate(timeout=GONE_WITHIN_S)[0]

    assert demo.returncode == code, said
    assert bench.left_since(before) == set()
