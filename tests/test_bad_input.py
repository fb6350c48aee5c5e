"""Bad input: every command answers with one sentence that says what to do next, and exit code 2.

Nothing half-written is left and no servo is powered. One calibrated twin on ptys serves the whole
battery as "real arms". Commands run inside the test process (a process each would cost seconds),
as `python -m scripts` runs them; where the process itself matters (permissions, disk, imports) they
run as programs.
"""

import contextlib
import grp
import io
import json
import os
import re
import resource
import stat
import subprocess
import sys
import tempfile
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from calibration.sweep import store_in_servos
from robot.bus import ServoBus
from robot.calibration_store import CalibrationSidecar, save_calibration
from robot.clock import MonotonicClock
from robot.joints import JOINTS, SERVO_IDS, Calibration, JointCalibration
from robot.port import ServoPort
from robot.registers import PRESENT_POSITION, TORQUE_ENABLE
from scripts.__main__ import main

# The twin on ptys answers within its deadlines only where nothing else wants both cores.
pytestmark = pytest.mark.realtime

CHECKOUT = Path(__file__).resolve().parents[1]
TWIN = '[twin]\nseed = 0\ntask = "pick_red"\n'


@dataclass(frozen=True)
class Answer:
    """What a command said, and with which code it ended."""

    code: int
    out: str
    error: str

    def refuses(self, pattern: str, code: int = 2) -> None:
        """Demand this exit code and one sentence that matches, with no traceback around it."""
        said = f"exit code {self.code}\n--- output\n{self.out}\n--- error\n{self.error}"
        # The guard's verdict stands beside where an arm's torque could not be read back.
        beside = re.compile(r"no twin of|so101 guard: |so101 \w+: the control process ended")
        lines = [line for line in self.error.splitlines() if not beside.match(line)]
        assert self.code == code, said
        assert len(lines) == 1, said
        assert re.fullmatch(r"so101 \w+: .+", lines[0]), said
        assert re.search(pattern, lines[0]), said


def run(*arguments: str | Path) -> Answer:
    """Run a command in this process, as `python -m scripts` does."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # how tyro refuses an argument
            code = int(end.code or 0)
    return Answer(code, out.getvalue(), error.getvalue())


@dataclass(frozen=True)
class Bench:
    """Two calibrated arms on ptys and a folder to work in; profiles are made to order."""

    folder: Path
    leader_port: str
    follower_port: str
    camera: str
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def profile(
        self,
        *,
        leader_port: str | None = None,
        follower_port: str | None = None,
        leader_id: str = "bench_leader",
        follower_id: str = "bench_follower",
        camera: str | None = None,
        extra: str = "",
    ) -> Path:
        """Write a rig profile of real arms (the twin's ptys), as asked for."""
        path = self.folder / f"rig_{next(self.numbers)}.toml"
        path.write_text(
            profile_text(
                leader_port or self.leader_port,
                follower_port or self.follower_port,
                self.folder / "calibration",
                leader_id=leader_id,
                follower_id=follower_id,
                camera=camera or self.camera,
            )
            + extra
        )
        return path

    def torque(self) -> dict[str, list[int]]:
        """Read back the torque of all twelve servos, over the wire."""
        return {path: read_torque(path) for path in (self.leader_port, self.follower_port)}


def read_torque(path: str) -> list[int]:
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(path, clock), clock) as bus:
        return [bus.read(servo_id, TORQUE_ENABLE) for servo_id in SERVO_IDS]


def profile_text(
    leader_port: str,
    follower_port: str,
    calibration: Path,
    *,
    leader_id: str = "bench_leader",
    follower_id: str = "bench_follower",
    camera: str = "",
) -> str:
    """Return a rig profile without a twin; no camera without an address."""
    text = f"""schema = 1
name = "bench"
[leader]
port = "{leader_port}"
id = "{leader_id}"
calibration_dir = "{calibration}"
[follower]
port = "{follower_port}"
id = "{follower_id}"
calibration_dir = "{calibration}"
"""
    if camera:
        text += f'[cameras.front]\naddress = "{camera}"\nwidth = 64\nheight = 48\nfps = 10\n'
    return text


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Run a twin on ptys until the battery is over, its arms calibrated over the wire."""
    folder = tmp_path_factory.mktemp("bench")
    rig = folder / "twin.toml"
    calibrations = folder / "calibration"
    rig.write_text(
        profile_text("twin:leader", "twin:follower", calibrations, camera="twin:front") + TWIN
    )
    command = [sys.executable, "-m", "scripts", "twin", "--rig", str(rig), "--json"]
    with subprocess.Popen(
        [*command, "--until-stdin-closes"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the twin did not start"
            addresses = json.loads(line)
            ports = {arm: addresses[arm]["port"] for arm in ("leader", "follower")}
            for arm, port in ports.items():
                calibrate_where_it_stands(port, calibrations / f"bench_{arm}.json")
            camera = addresses["cameras"]["front"]["http"]
            yield Bench(folder, ports["leader"], ports["follower"], camera)
        finally:
            process.terminate()
            process.wait(10.0)


def calibrate_where_it_stands(port: str, path: Path) -> None:
    """Make each joint's present position the middle of a range: in seconds less than by a sweep."""
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(port, clock), clock) as bus:
        present = [bus.read(servo_id, PRESENT_POSITION) for servo_id in SERVO_IDS]
        joints = [
            JointCalibration(servo_id, 0, max(-2047, ticks - 2048), 1048, 3048)
            for servo_id, ticks in zip(SERVO_IDS, present, strict=True)
        ]
        calibration = Calibration(tuple(joints))
        store_in_servos(bus, calibration)
    save_calibration(path, calibration, sidecar_of(calibration))


def sidecar_of(calibration: Calibration) -> CalibrationSidecar:
    return CalibrationSidecar(1, calibration.sha256, "2026-01-01T00:00:00+00:00", {}, "")


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """Give a folder to write to, in which nothing may be left when the test is over."""
    folder = tmp_path / "output"
    yield folder
    left = [str(path) for path in folder.rglob("*") if path.is_file()]
    assert left == [], "half-written files"


@pytest.fixture
def unpowered(bench: Bench) -> Iterator[Bench]:
    """Give the bench, and demand that no servo is powered when the test is over."""
    yield bench
    assert bench.torque() == {bench.leader_port: [0] * 6, bench.follower_port: [0] * 6}


def program_environment(**changes: str) -> dict[str, str]:
    """Return the environment of a command that runs as a program of its own."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **changes}


# Rig profiles ------------------------------------------------------------------------------------

COMMANDS_WITH_RIG: dict[str, list[str]] = {
    "twin": [],
    "calibrate": [],
    "teleop": [],
    "record": ["--output", "OUTPUT"],
    "deploy": ["CHECKPOINT", "--yes"],
    "evaluate": ["CHECKPOINT"],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what a checkpoint says about itself, with weights that no network could use."""
    folder = tmp_path_factory.mktemp("checkpoint")
    state = {"type": "STATE", "shape": [6]}
    config = {
        "type": "so101_flow",
        "chunk_size": 10,
        "input_features": {
            "observation.state": state,
            "observation.images.front": {"type": "VISUAL", "shape": [3, 48, 64]},
        },
        "output_features": {"action": {"type": "ACTION", "shape": [6]}},
    }
    sidecar = {"schema": 1, "fps": 30.0, "joint_names": [f"{joint}.pos" for joint in JOINTS]}
    files = {"config.json": config, "so101.json": sidecar}
    files |= {f"policy_{name}processor.json": {"steps": []} for name in ("pre", "post")}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder


@pytest.mark.parametrize("command", COMMANDS_WITH_RIG)
def test_a_profile_of_a_newer_version_is_refused(
    command: str, tmp_path: Path, output: Path, checkpoint: Path
) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text('# tomorrow\nschema = 99\nname = "x"\ntomorrows_key = 1\n')
    places = {"OUTPUT": output, "CHECKPOINT": checkpoint}
    rest = [places.get(word, word) for word in COMMANDS_WITH_RIG[command]]

    run(command, *rest, "--rig", rig).refuses(r"rig\.toml, line 2: schema 99 .*update so101")


GOOD_PROFILE = profile_text("/dev/null", "/dev/null", Path("nowhere"))
BAD_PROFILES: dict[str, tuple[str | bytes, str]] = {
    "not TOML": ("schema = = 1", r"not valid TOML.*line 1.*mend"),
    "not text": (b"\xff\xfe\x00\x80", r"is not a text file; name"),
    "empty": ("", r"`schema`.*(mend|name)"),
    "a list": ("[[schema]]", r"schema.*(mend|name)"),
    "schema a word": ('schema = "one"', r"line 1: .*schema.*mend"),
    "schema zero": (GOOD_PROFILE.replace("schema = 1", "schema = 0"), r"line 1: .*schema.*mend"),
    "unknown key": (GOOD_PROFILE + "colour = 3\n", r"line 11: .*`colour`.*mend"),
    "wrong type": (GOOD_PROFILE.replace('"/dev/null"', "5"), r"line 4: .*port.*mend"),
    "missing key": (GOOD_PROFILE.replace("[follower]", "[follow]"), r"follow.*mend"),
    "no rate": ("control_rate_hz = 0.0\n" + GOOD_PROFILE, r"line 1: .*control_rate_hz.*mend"),
    "endless rate": ("control_rate_hz = inf\n" + GOOD_PROFILE, r"line 1: .*control_rate_hz.*mend"),
    "no frame rate": ("dataset_fps = 0\n" + GOOD_PROFILE, r"line 1: .*dataset_fps.*mend"),
    "no speed": ("max_speed_deg_s = -1.0\n" + GOOD_PROFILE, r"line 1: .*max_speed_deg_s.*mend"),
    "odd rotation": (
        GOOD_PROFILE + '[cameras.a]\naddress = "x"\nrotation_deg = 45\n',
        r"rotation_deg.*mend",
    ),
    "no pixels": (GOOD_PROFILE + '[cameras.a]\naddress = "x"\nwidth = 0\n', r"width.*mend"),
    "both arms on one port": (GOOD_PROFILE, r"same port.*mend"),
}


@pytest.mark.parametrize("text", BAD_PROFILES)
def test_a_malformed_profile_is_refused_with_the_key_and_the_line(
    text: str, tmp_path: Path, output: Path
) -> None:
    rig = tmp_path / "rig.toml"
    content, pattern = BAD_PROFILES[text]
    rig.write_bytes(content if isinstance(content, bytes) else content.encode())

    run("record", "--output", output, "--rig", rig).refuses(pattern)


@pytest.mark.parametrize("command", COMMANDS_WITH_RIG)
def test_a_missing_profile_is_refused(command: str, output: Path, checkpoint: Path) -> None:
    places = {"OUTPUT": output, "CHECKPOINT": checkpoint}
    rest = [places.get(word, word) for word in COMMANDS_WITH_RIG[command]]

    run(command, *rest, "--rig", "nowhere.toml").refuses(
        r"cannot read the rig profile nowhere\.toml: .*--rig"
    )


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    run("teleop", "--rig", tmp_path).refuses(r"cannot read the rig profile .*--rig")


# Ports -------------------------------------------------------------------------------------------

MOVING = {
    "calibrate": ["--duration-s", "1"],
    "teleop": ["--duration-s", "1"],
    "record": ["--output", "OUTPUT", "--unattended", "--episode-s", "1", "--reset-s", "1"],
    "deploy": ["CHECKPOINT", "--yes", "--output", "OUTPUT/result.json"],
}


@pytest.fixture
def moving(output: Path, checkpoint: Path) -> Callable[[str], list[str]]:
    """Give the words of a command that would move an arm for a second."""

    def words(command: str) -> list[str]:
        rest = (word.replace("OUTPUT", str(output)) for word in MOVING[command])
        return [command, *(word.replace("CHECKPOINT", str(checkpoint)) for word in rest)]

    return words


@pytest.mark.parametrize(
    ("command", "arm"),
    [
        (command, arm)
        for command in MOVING
        for arm in ("leader_port", "follower_port")
        if (command, arm) != ("deploy", "leader_port")  # a policy needs no leader
    ],
)
def test_a_wrong_port_is_refused(
    command: str, arm: str, unpowered: Bench, moving: Callable[[str], list[str]]
) -> None:
    rig = unpowered.profile(**{arm: "/dev/ttyACM77"})

    run(*moving(command), "--rig", rig).refuses(
        r"serial port /dev/ttyACM77 does not exist .*plug .* or correct `port` in the profile"
    )


@pytest.mark.parametrize("path", ["/dev/null", "FILE", "FOLDER"])
def test_what_is_no_serial_device_is_refused(path: str, unpowered: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = {"FILE": str(tmp_path / "file"), "FOLDER": str(tmp_path)}.get(path, path)

    run("teleop", "--duration-s", "1", "--rig", unpowered.profile(follower_port=place)).refuses(
        r"(cannot be opened as a servo bus|no(t a)? serial).*(check|correct)"
    )


def test_a_port_without_servos_is_refused(unpowered: Bench) -> None:
    controller, terminal = os.openpty()
    tty.setraw(terminal)  # else the terminal's echo is what answers
    try:
        rig = unpowered.profile(follower_port=os.ttyname(terminal))
        answer = run("teleop", "--duration-s", "1", "--rig", rig)
    finally:
        os.close(controller)
        os.close(terminal)

    answer.refuses(r"no servo answers on /dev/pts/\d+ \(follower\): check .*power")


def test_a_port_that_another_program_holds_is_refused(unpowered: Bench) -> None:
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(unpowered.follower_port, clock), clock):
        answer = run("teleop", "--duration-s", "1", "--rig", unpowered.profile())

    answer.refuses(r"/dev/pts/\d+ is in use by another program: process \d+ \(.+\); stop it")


# The imports happen before the user changes: the checkout and the interpreter may lie in a folder
# that only root may read.
AS_NOBODY = """
import os, sys
from scripts.__main__ import main
if os.geteuid() == 0:
    main([sys.argv[1], "--rig", "/nowhere"])  # so that nothing is left to import
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder whose parents any user may enter (pytest's own are private)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def run_as_nobody(*words: str | Path, folder: Path) -> Answer:
    private = folder / "run"
    private.mkdir(exist_ok=True)
    private.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *map(str, words)],
        cwd=folder,
        env=program_environment(XDG_RUNTIME_DIR=str(private), HOME=str(private)),
        capture_output=True,
        text=True,
        timeout=30.0,
        check=False,
    )
    said = done.stderr.partition("/nowhere")[2].partition("\n")[2] or done.stderr
    return Answer(done.returncode, done.stdout, said)


def test_without_permission_for_the_port_the_group_is_named(open_folder: Path) -> None:
    controller, terminal = os.openpty()
    port = os.ttyname(terminal)
    if os.geteuid() == 0:  # as the kernel sets up a USB adapter; else it is this user's own
        os.chown(port, 0, grp.getgrnam("dialout").gr_gid)
    before = stat.S_IMODE(os.stat(port).st_mode)
    rig = open_folder / "rig.toml"
    rig.write_text(profile_text(port, f"{port}9", open_folder / "run"))
    try:
        os.chmod(port, 0o660 if os.geteuid() == 0 else 0)
        # Not teleop: nobody may start this checkout's Python a second time, as its control process.
        answer = run_as_nobody("calibrate", "--rig", rig, folder=open_folder)
    finally:
        os.chmod(port, before)
        os.close(controller)
        os.close(terminal)

    answer.refuses(
        rf"may not open the serial port {port}; (it belongs .*usermod -aG dialout|.*chmod a\+rw)"
    )


def test_a_profile_that_may_not_be_read_is_refused(open_folder: Path) -> None:
    rig = open_folder / "rig.toml"
    rig.write_text(GOOD_PROFILE)
    rig.chmod(0)

    run_as_nobody("teleop", "--rig", rig, folder=open_folder).refuses(
        r"cannot read the rig profile .*Permission denied.*"
    )


# Calibration -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["teleop", "record", "deploy"])
def test_the_calibration_of_another_arm_is_refused(
    command: str, unpowered: Bench, moving: Callable[[str], list[str]]
) -> None:
    rig = unpowered.profile(leader_id="bench_follower", follower_id="bench_leader")

    run(*moving(command), "--rig", rig).refuses(
        r"(leader|follower) on /dev/pts/\d+ is not the arm of its calibration: \w+ stores .*"
        r"(Plug the right arm in|so101 calibrate)"
    )


@pytest.mark.parametrize("command", ["teleop", "record", "deploy"])
def test_swapped_ports_are_refused(
    command: str, unpowered: Bench, moving: Callable[[str], list[str]]
) -> None:
    rig = unpowered.profile(
        leader_port=unpowered.follower_port, follower_port=unpowered.leader_port
    )

    run(*moving(command), "--rig", rig).refuses(r"is not the arm of its calibration")


@pytest.mark.parametrize("arm", ["leader_id", "follower_id"])
def test_an_arm_that_was_never_calibrated_is_refused(arm: str, unpowered: Bench) -> None:
    run("teleop", "--duration-s", "1", "--rig", unpowered.profile(**{arm: "newcomer"})).refuses(
        r"no calibration at .*newcomer\.json: run '\./so101 calibrate'"
    )


BAD_CALIBRATIONS: dict[str, str | bytes] = {
    "not JSON": "{",
    "not text": b"\xff\xfe\x80",
    "a list": "[]",
    "a joint is missing": '{"shoulder_pan": {}}',
    "an offset that no servo holds": "OFFSET",
}


@pytest.mark.parametrize("text", BAD_CALIBRATIONS)
def test_a_malformed_calibration_is_refused(text: str, unpowered: Bench) -> None:
    folder = unpowered.folder / "calibration"
    content = BAD_CALIBRATIONS[text]
    if content == "OFFSET":
        table = json.loads((folder / "bench_follower.json").read_text())
        table["gripper"]["homing_offset"] = 5000
        content = json.dumps(table)
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "malformed.json").write_bytes(data)

    run("teleop", "--duration-s", "1", "--rig", unpowered.profile(follower_id="malformed")).refuses(
        r"calibrat\w+ .*again"
    )


# Cameras -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["/dev/v4l/by-path/none-video-index0", "http://127.0.0.1:9/front", "twin:nose", "ftp://front"],
)
@pytest.mark.parametrize("command", ["record", "deploy"])
def test_a_missing_camera_is_refused(
    command: str, address: str, unpowered: Bench, moving: Callable[[str], list[str]]
) -> None:
    rig = unpowered.profile(camera=address)

    run(*moving(command), "--rig", rig).refuses(r"(camera|twin).*(plug|check|start|correct)")


# Datasets, journals, checkpoints, recordings -----------------------------------------------------


@pytest.fixture
def wrong_folders(tmp_path: Path) -> dict[str, Path]:
    """Give what people name by mistake: nothing, an empty folder, a file, a broken dataset."""
    empty = tmp_path / "empty"
    (empty / "sub").mkdir(parents=True)
    file = tmp_path / "file"
    file.write_text("hello")
    broken = tmp_path / "broken"
    (broken / "meta").mkdir(parents=True)
    (broken / "meta" / "info.json").write_text("{")
    (broken / "config.json").write_text("{")
    return {"missing": tmp_path / "nowhere", "empty": empty, "file": file, "broken": broken}


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "broken"])
def test_an_unknown_dataset_is_refused(
    kind: str, wrong_folders: dict[str, Path], output: Path
) -> None:
    run("train", wrong_folders[kind], "--output", output).refuses(
        rf"{wrong_folders[kind]}.*(dataset|info\.json).*(so101 (record|export)|name|again)"
    )


@pytest.mark.parametrize("command", ["deploy", "evaluate"])
@pytest.mark.parametrize("kind", ["missing", "empty", "file", "broken"])
def test_an_unknown_checkpoint_is_refused(
    command: str, kind: str, wrong_folders: dict[str, Path], output: Path
) -> None:
    yes = ["--yes"] if command == "deploy" else []
    run(command, wrong_folders[kind], *yes, "--output", output / "result.json").refuses(
        rf"{wrong_folders[kind]}.*(checkpoint|config\.json)"
    )


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_without_journals_is_refused(
    kind: str, wrong_folders: dict[str, Path], output: Path
) -> None:
    run("export", wrong_folders[kind], "--output", output / "dataset").refuses(
        rf"{wrong_folders[kind]}.*(name|record)"
    )


def test_a_broken_journal_is_refused(wrong_folders: dict[str, Path], output: Path) -> None:
    (wrong_folders["empty"] / "episode_000000.mcap").write_bytes(b"\x89MCAP0\r\n" + b"\0" * 50)

    run("export", wrong_folders["empty"], "--output", output / "dataset").refuses(
        r"episode_000000\.mcap"
    )


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "broken"])
def test_an_unknown_recording_is_refused(
    kind: str, wrong_folders: dict[str, Path], bench: Bench
) -> None:
    rig = bench.folder / "twin.toml"
    run("twin", "--rig", rig, "--hand", wrong_folders[kind], "--duration-s", "1").refuses(
        rf"{wrong_folders[kind]}.*"
    )
    run("bench", "twin", "--recording", wrong_folders[kind]).refuses(rf"{wrong_folders[kind]}.*")


WITHOUT_TORCH = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "lerobot"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from scripts.__main__ import main
print([main(words) for words in json.loads(sys.argv[1])])
"""


def test_bad_input_is_refused_before_torch_and_lerobot_are_loaded(tmp_path: Path) -> None:
    """Loading them takes seconds."""
    nowhere = str(tmp_path / "nowhere")
    commands = [
        ["train", nowhere],
        ["deploy", nowhere, "--yes"],
        ["evaluate", nowhere],
        ["export", nowhere, "--output", nowhere],
        ["record", "--output", nowhere, "--rig", nowhere],
        ["teleop", "--rig", nowhere],
        ["calibrate", "--rig", nowhere],
        ["twin", "--rig", nowhere],
        ["bench", "twin", "--recording", nowhere],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(commands)],
        cwd=CHECKOUT,
        env=program_environment(SO101_LOG=str(tmp_path / "error.log")),
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )

    assert done.stdout.strip() == str([2] * len(commands)), done.stderr
    assert len(done.stderr.splitlines()) == len(commands)


# Full disk ---------------------------------------------------------------------------------------

ON_SMALL_DISK = 'mount -t tmpfs -o size="$2" none "$1" || exit 99; cd "$3"; shift 3; "$@"; code=$?;'


def run_on_small_disk(folder: Path, size: str, *command: str) -> tuple[Answer, list[str]]:
    """Run a program with a disk of `size` at `folder`; return its answer and the files left."""
    folder.mkdir()
    script = f'{ON_SMALL_DISK} find "{folder}" -type f >"$LEFT"; exit $code'
    left = folder.with_name("left")
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        done = subprocess.run(
            [*unshare, str(folder), size, str(CHECKOUT), *command],
            env=program_environment(LEFT=str(left)),
            capture_output=True,
            text=True,
            timeout=50.0,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("unshare (util-linux) is not installed: there is no disk to fill")
    if done.returncode == 99 or not left.exists():
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    return Answer(done.returncode, done.stdout, done.stderr), left.read_text().split()


def run_with_small_files(folder: Path, size: int, *command: str) -> tuple[Answer, list[str]]:
    """Run a program that may write no file beyond `size` bytes: where no small disk can be made."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=program_environment(),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=50.0,
        check=False,
    )
    left = [str(path) for path in folder.rglob("*") if path.is_file()]
    return Answer(done.returncode, done.stdout, done.stderr), left


@pytest.mark.parametrize("limit", ["disk", "file size"])
def test_a_disk_that_fills_up_while_recording_ends_it_with_torque_off(
    limit: str, unpowered: Bench, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    words = ["record", "--output", str(disk / "session"), "--rig", str(unpowered.profile())]
    words += ["--unattended", "--episode-s", "30", "--reset-s", "1", "--episodes", "1"]
    command = [sys.executable, "-m", "scripts", *words]
    if limit == "disk":
        answer, left = run_on_small_disk(disk, "300k", *command)
    else:
        answer, left = run_with_small_files(disk, 300_000, *command)

    answer.refuses(r"(full|no space).*free", code=1)  # the arm was being driven: no refusal
    assert "follower torque: off (read back)" in answer.out
    # What was recorded until then can be recovered, and cannot be taken for a finished episode.
    assert [Path(path).suffix for path in left] == [".part"]


SAVE_CALIBRATION = """
import sys
from pathlib import Path
from robot.calibration_store import CalibrationSidecar, load_calibration, save_calibration
from robot.errors import So101Error
good, disk = Path(sys.argv[1]), Path(sys.argv[2])
calibration = load_calibration(good)
sidecar = CalibrationSidecar(1, calibration.sha256, "", {}, "")
save_calibration(disk / "arm.json", calibration, sidecar)
before = {path.name: path.read_bytes() for path in disk.iterdir()}
(disk / "filler").write_bytes(b"x" * 4096 * (int(sys.argv[3]) - len(before)))
try:
    save_calibration(disk / "arm.json", calibration, sidecar)
except So101Error as error:
    print(f"so101 calibrate: {error}", file=sys.stderr)
    (disk / "filler").unlink()
    assert {path.name: path.read_bytes() for path in disk.iterdir()} == before
    sys.exit(2)
"""


def test_a_full_disk_leaves_the_old_calibration_whole(bench: Bench, tmp_path: Path) -> None:
    disk, pages = tmp_path / "disk", 16
    good = bench.folder / "calibration" / "bench_leader.json"
    answer, _ = run_on_small_disk(
        disk,
        f"{4 * pages}k",
        *(sys.executable, "-c", SAVE_CALIBRATION, str(good), str(disk), str(pages)),
    )

    answer.refuses(r"no space left to write the calibration .*free some disk")


# The command line --------------------------------------------------------------------------------


def test_a_command_that_does_not_exist_is_refused_with_those_that_do() -> None:
    answer = run("telop")

    assert answer.code == 2
    assert "no command 'telop'" in answer.error
    assert "teleop" in answer.error


@pytest.mark.parametrize(
    "words",
    [
        ["teleop", "--duration-s", "nan"],
        ["teleop", "--duration-s", "-1"],
        ["calibrate", "--duration-s", "-1"],
        ["twin", "--duration-s", "-1"],
        ["deploy", "x", "--duration-s", "nan"],
        ["evaluate", "x", "--max-trial-s", "-1"],
        ["record", "--output", "x", "--reset-s", "nan"],
    ],
    ids=" ".join,
)
def test_a_time_below_zero_is_refused(words: list[str]) -> None:
    run(*words).refuses(rf"{words[-2]} {words[-1]} is no length: give a number of 0 or more")


@pytest.mark.parametrize("option", ["--episodes", "--workers"])
def test_a_number_of_nothing_is_refused(option: str, output: Path) -> None:
    words = ["record", "--output", str(output), "--virtual", "--demonstrator", option, "0"]

    run(*words).refuses(rf"{option} 0: .*at least one")


@pytest.mark.parametrize("command", ["record", "train", "evaluate", "deploy"])
def test_an_output_that_cannot_be_made_is_refused_before_the_work(
    command: str, tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(
        '{"codebase_version": "v3.0", "total_episodes": 1}'
    )
    first: dict[str, list[str | Path]] = {
        "train": [tmp_path],
        "evaluate": [checkpoint],
        "deploy": [checkpoint, "--yes"],
    }
    target = tmp_path / "file" / "result"

    run(command, *first.get(command, []), "--output", target).refuses(
        rf"--output {target}: .*file is a file; name another place"
    )


def test_an_option_that_does_not_exist_is_refused() -> None:
    answer = run("teleop", "--rigg", "x")

    assert answer.code == 2
    assert "--rigg" in answer.error
