"""The demo: a plan that its commands understand, a rig of its own, a report of one file."""

import html
import importlib
import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import tyro

from deploy.results import EvaluationResult, Outcome, TrialOutcome, save_result
from record.header import CameraHeader, JournalHeader
from record.journal import JournalWriter
from robot.errors import ConfigError
from robot.frames import Frame
from robot.joint_sample import JointSample
from robot.loop import Tick
from robot.rig import load_rig
from scripts.demo_command import FULL, QUICK, Args, main, plan_steps, write_rig
from scripts.demo_report import DemoStep, write_report
from scripts.rig_session import DEFAULT_RIG

WIDTH, HEIGHT = 64, 48
RATE_HZ = 100
T0_S = 1000.0


def make_plan(output: Path, *, quick: bool = True) -> list[tuple[str, list[str]]]:
    rig = write_rig(load_rig(DEFAULT_RIG), output)
    return plan_steps(Args(output=output), QUICK if quick else FULL, rig)


def parsed(words: list[str]) -> object:
    name, *arguments = words
    return tyro.cli(importlib.import_module(f"scripts.{name}_command").Args, args=arguments)


@pytest.mark.parametrize("quick", [True, False])
def test_every_step_parses_with_its_commands_own_options(tmp_path: Path, quick: bool) -> None:
    plan = make_plan(tmp_path, quick=quick)

    assert [words[0] for _, words in plan] == [
        *("calibrate", "record", "train", "evaluate", "record", "deploy")
    ]
    for _, words in plan:
        parsed(words)


def test_every_step_that_opens_arms_opens_the_demos_own(tmp_path: Path) -> None:
    rigs = [getattr(parsed(words), "rig", None) for _, words in make_plan(tmp_path)]

    own = tmp_path / "rig.toml"
    assert rigs == [own, own, None, own, own, own]  # train reads a dataset, no rig


@pytest.mark.parametrize("name", ["plain", 'a "quoted" \\ name with spaces', "größer"])
def test_the_rig_is_the_default_one_but_for_its_name_and_files(tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    output.mkdir()

    own = load_rig(write_rig(load_rig(DEFAULT_RIG), output))

    default = load_rig(DEFAULT_RIG)
    assert own.name.startswith("demo-")
    assert own.twin is not None
    assert default.twin is not None
    files = [own.leader.calibration_dir, own.follower.calibration_dir, own.twin.eeprom_file]
    assert all(Path(file).is_relative_to(output / "twin") for file in files)
    assert default == msgspec.structs.replace(
        own,
        name=default.name,
        leader=msgspec.structs.replace(own.leader, calibration_dir=default.leader.calibration_dir),
        follower=msgspec.structs.replace(
            own.follower, calibration_dir=default.follower.calibration_dir
        ),
        twin=msgspec.structs.replace(own.twin, eeprom_file=default.twin.eeprom_file),
    )


@pytest.mark.parametrize("arm", ["leader", "follower"])
def test_it_never_moves_a_real_arm(tmp_path: Path, arm: str) -> None:
    default = load_rig(DEFAULT_RIG)
    real = msgspec.structs.replace(getattr(default, arm), port="/dev/ttyACM0")

    with pytest.raises(ConfigError, match="unattended"):
        write_rig(msgspec.structs.replace(default, **{arm: real}), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(ConfigError, match="name another --output"):
        main(Args(output=tmp_path))

    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def write_journal(path: Path) -> None:
    """Write one second of an episode: joints in straight lines, one camera of grey pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = JournalHeader(
        episode=0,
        task="pick up the red block",
        rig_name="demo",
        rig_toml="schema = 1",
        control_rate_hz=RATE_HZ,
        cameras={"wrist": CameraHeader(WIDTH, HEIGHT, 20)},
        calibration_sha256={"follower": "ab" * 32},
        gains={"P_Coefficient": [16] * 6},
        software={"python": "3.12"},
        boot_id="boot",
        started_s=T0_S,
        started_utc="2026-01-01T00:00:00+00:00",
        seed=0,
        task_start='{"red_x_m":0.28}',
    )
    picture = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8))[1].tobytes()
    writer = JournalWriter(path, header, read_utc=lambda: "2026-01-01")
    writer.event("start", T0_S)
    for index in range(RATE_HZ):
        now_s = T0_S + index / RATE_HZ
        position_deg = np.arange(1.0, 7.0) * index / RATE_HZ
        sample = JointSample(
            time_s=np.full(6, now_s),
            position_deg=position_deg,
            velocity_deg_s=np.ones(6),
            load_pct=np.zeros(6),
            voltage_v=np.full(6, 7.4),
            temperature_celsius=np.full(6, 31.0),
            current_ma=np.full(6, 120.0),
            status=(0,) * 6,
        )
        late_s = 1e-5 * index
        goal_deg = position_deg + 1
        writer.tick(Tick(index, now_s, late_s, 0, sample, goal_deg, goal_deg, now_s + 0.002))
        if index % 5 == 0:
            writer.frame(Frame("wrist", index // 5, now_s, picture, WIDTH, HEIGHT))
    writer.event("end", T0_S + 1, outcome="success")
    writer.close()


def make_result(kind: str, outcomes: list[Outcome]) -> EvaluationResult:
    starts = [{"red_x_m": 0.27 + 0.002 * i, "red_y_m": 0.01 * i} for i in range(len(outcomes))]
    return EvaluationResult(
        kind="policy" if kind == "policy" else "nearest-replay",
        clock="virtual",
        rig="demo",
        task="pick_red",
        control_rate_hz=RATE_HZ,
        trials=[
            TrialOutcome(index, start, outcome, 5.0)
            for index, (start, outcome) in enumerate(zip(starts, outcomes, strict=True))
        ],
        training_starts=[{"red_x_m": 0.28, "red_y_m": -0.03}],
    )


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what the steps of a demo leave behind, as small as it goes."""
    folder = tmp_path_factory.mktemp("demo")
    for journals in ("data/journals", "realtime/journals", "rollout"):
        write_journal(folder / journals / "episode_000000.mcap")
    (folder / "train").mkdir()
    row = {"steps": 20, "learning_rate": 1e-3, "gradient_norm": 1.0, "steps_per_s": 9.0}
    rows = [
        {"step": 10, "loss": 0.9, "elapsed_s": 1.0, **row},
        {"step": 20, "loss": 0.5, "elapsed_s": 2.0, "validation_loss": 0.6, **row},
    ]
    log = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train" / "train_log.jsonl").write_text(log)
    (folder / "evaluation").mkdir()
    policy = make_result("policy", ["success", "success", "success", "failure"])
    replay = make_result("replay", ["failure"] * 4)
    save_result(policy, folder / "evaluation" / "results.json")
    save_result(replay, folder / "evaluation" / "results-nearest-replay.json")
    save_result(make_result("policy", ["success"]), folder / "rollout" / "results.json")
    return folder


class Page(HTMLParser):
    """What a browser would fetch, and what a person would read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [v or "" for k, v in attrs if k in {"src", "href", "xlink:href", "data"}]


@pytest.fixture
def make_report(demo_folder: Path) -> Callable[..., str]:
    def make(*, quick: bool = True) -> str:
        steps = [
            DemoStep(title, shlex.join(["./so101", *words]), 12.0)
            for title, words in make_plan(demo_folder, quick=quick)
        ]
        path = write_report(demo_folder, steps, quick=quick, total_s=72.0)
        return path.read_text(encoding="utf-8")

    return make


def test_the_report_fetches_nothing(make_report: Callable[..., str]) -> None:
    text = make_report()

    page = Page(text)
    assert page.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe", "object"}
    others = re.findall(
        r"(?:https?:)?//[a-z][\w.]+\.[a-z]+[^\"'\s<]*", re.sub(r'"data:[^"]+"', "", text)
    )
    assert others == []
    assert "url(" not in text
    assert "@import" not in text


def test_the_report_says_how_it_went(make_report: Callable[..., str]) -> None:
    text = make_report()

    assert "picked the red block in 3 of 4 (75 %, 95 % interval" in text
    assert "0 of 4 (0 %, 95 % interval" in text
    assert "20 steps in 2 s" in text
    for name in ("demonstration", "rollout"):  # the timing table: ticks, missed, p50 of 0..0.99 ms
        cells = f"<tr><td>{name}<td class=n>{RATE_HZ}<td class=n>0<td class=n>0.49"
        assert cells in text or cells.replace("0.49", "0.50") in text
    assert text.count("<svg") == 5


def test_the_report_lists_what_was_run_ready_for_a_shell(
    demo_folder: Path, make_report: Callable[..., str]
) -> None:
    text = make_report()

    codes = [html.unescape(code) for code in re.findall(r"<code>(\./so101 .*?)</code>", text)]
    assert [shlex.split(code)[1:] for code in codes] == [
        words for _, words in make_plan(demo_folder)
    ]
    assert "another <code>--output</code>" in text
    assert "<code>record</code> appends" in text


def test_only_a_quick_demo_says_that_it_shows_no_trained_policy(
    make_report: Callable[..., str],
) -> None:
    assert "--quick" in make_report(quick=True)
    assert "--quick" not in make_report(quick=False)
