"""Do the whole job on the digital twin: calibrate, record, train and evaluate.

Then a demonstration and a rollout in real time. Every step is a command of its own; the report
lists them all. The arms are the demo's own (OUTPUT/rig.toml): it touches no other twin. Nothing but
a processor is needed.
"""

import json
import os
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from robot.devices import TWIN
from robot.errors import ConfigError
from robot.rig import RigProfile, TwinProfile, load_rig
from scripts.demo_report import DemoStep, write_report
from scripts.exit_codes import INTERRUPTED
from scripts.rig_session import DEFAULT_RIG
from scripts.steps import run_step

MEBIBYTE = 1024**2
NEEDED_MIB = 2000  # journals, dataset, cache and checkpoints of a full run, with room to spare


@dataclass(frozen=True)
class Args:
    """How much of it."""

    output: Path = Path("outputs/demo")
    """Folder for everything the demo makes; an earlier demo in it is replaced."""
    quick: bool = False
    """At most three minutes: few demonstrations and short training, so the policy will mostly fail;
    says what it leaves out.
    """
    seed: int = 0
    """Seed of scenes and training."""


class Scale(msgspec.Struct, frozen=True):
    """How much a demo does."""

    episodes: int
    train_steps: int
    trials: int


FULL = Scale(episodes=80, train_steps=3500, trials=50)
QUICK = Scale(episodes=10, train_steps=200, trials=4)


def main(args: Args) -> int:
    """Run all steps, then write the report."""
    console = Console()
    scale = QUICK if args.quick else FULL
    if args.quick:
        console.print(
            f"[yellow]--quick[/]: {scale.episodes} demonstrations instead of {FULL.episodes}, "
            f"{scale.train_steps} training steps instead of {FULL.train_steps}, "
            f"{scale.trials} trials instead of {FULL.trials}: "
            "the policy cannot be expected to succeed; run the full demo for that",
            highlight=False,
        )
    profile = load_rig(DEFAULT_RIG)
    _make_room(args.output)
    rig = write_rig(profile, args.output)
    steps: list[DemoStep] = []
    started_s = time.monotonic()
    for title, words in plan_steps(args, scale, rig):
        console.rule(f"[bold]{len(steps) + 1}. {title}[/]", align="left")
        command = shlex.join(["./so101", *words])
        console.print(f"[dim]{command}[/]", highlight=False, soft_wrap=True)
        step_s = time.monotonic()
        code = run_step(words)
        steps.append(DemoStep(title, command, time.monotonic() - step_s))
        if code == INTERRUPTED:
            console.print(f"interrupted in step {len(steps)} ({title}); the next demo begins anew")
            return code
        if code:
            console.print(
                f"step {len(steps)} ({title}) ended with exit code {code}; "
                "repeat it with the command above"
            )
            return code
    report = write_report(
        args.output, steps, quick=args.quick, total_s=time.monotonic() - started_s
    )
    console.print(
        f"\nthe whole job took {(time.monotonic() - started_s) / 60:.1f} minutes; report: {report}"
    )
    return 0


def plan_steps(args: Args, scale: Scale, rig: Path) -> list[tuple[str, list[str]]]:
    """Return title and command line of each step."""
    out = str(args.output)
    seed = str(args.seed)
    on_rig = ["--rig", str(rig)]
    calibrate = ["calibrate", *on_rig, "--virtual"]
    record = ["record", *on_rig, "--output", f"{out}/data", "--demonstrator", "--virtual"]
    record += ["--episodes", str(scale.episodes), "--seed", seed]
    train = ["train", f"{out}/data/dataset", "--output", f"{out}/train"]
    train += ["--steps", str(scale.train_steps), "--seed", seed]
    evaluate = ["evaluate", f"{out}/train", *on_rig, "--trials", str(scale.trials)]
    evaluate += ["--training-journals", f"{out}/data/journals", "--control", "nearest-replay"]
    evaluate += ["--output", f"{out}/evaluation/results.json"]
    demonstrate = ["record", *on_rig, "--output", f"{out}/realtime", "--demonstrator"]
    demonstrate += ["--episodes", "1", "--seed", "500000", "--no-export"]
    deploy = ["deploy", f"{out}/train", *on_rig, "--yes", "--episodes", "1"]
    deploy += ["--record", f"{out}/rollout"]
    deploy += ["--seed", "600000", "--output", f"{out}/rollout/results.json"]
    return [
        ("calibrate both arms, by an emulated hand", calibrate),
        ("record demonstrations and derive the dataset", record),
        ("train", train),
        ("evaluate, with replay of the nearest demonstration as control", evaluate),
        ("one demonstration in real time, over serial devices", demonstrate),
        ("one rollout in real time, over serial devices", deploy),
    ]


def write_rig(profile: RigProfile, output: Path) -> Path:
    """Write the demo's own rig: `profile` with names, calibration and EEPROM that nobody shares.

    Raises:
        ConfigError: `profile` has an arm that is not emulated; the demo moves arms unattended.
    """
    arms = (profile.leader, profile.follower)
    if profile.twin is None or not all(arm.port.startswith(TWIN) for arm in arms):
        raise ConfigError(
            f"{DEFAULT_RIG} describes real arms, and the demo moves them unattended: "
            "restore it, and keep real arms in a profile of their own"
        )
    leader, follower = (
        msgspec.structs.replace(arm, calibration_dir=str(output / "twin" / "calibration"))
        for arm in arms
    )
    twin: TwinProfile = msgspec.structs.replace(
        profile.twin, eeprom_file=str(output / "twin" / "eeprom.json")
    )
    own = msgspec.structs.replace(
        profile, name=f"demo-{os.getpid()}", leader=leader, follower=follower, twin=twin
    )
    lines = [f"# The rig of this demo: {DEFAULT_RIG}, with files of its own."]
    path = output / "rig.toml"
    path.write_text("\n".join([*lines, *_toml(msgspec.to_builtins(own))]) + "\n", encoding="utf-8")
    return path


def _toml(table: dict[str, Any], name: str = "") -> list[str]:
    """Return the lines of a table; its strings and numbers are written in JSON as in TOML."""
    table = {key: value for key, value in table.items() if value is not None}  # left to defaults
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    if name and values:
        lines = ["", f"[{name}]", *lines]
    for key in (key for key in table if key not in values):
        quoted = key if key.isidentifier() else json.dumps(key)
        lines += _toml(table[key], f"{name}.{quoted}" if name else quoted)
    return lines


def _make_room(output: Path) -> None:
    """Remove an earlier demo, check for disk space; refuses a folder that is not a demo's."""
    marker = output / ".so101-demo"
    if output.exists():
        if any(output.iterdir()) and not marker.exists():
            raise ConfigError(f"{output} holds something else than a demo: name another --output")
        shutil.rmtree(output)
    try:
        output.mkdir(parents=True)
        marker.touch()
    except OSError as error:
        raise ConfigError(
            f"cannot make {output}: {error.strerror}; name another --output"
        ) from error
    free_mib = shutil.disk_usage(output).free // MEBIBYTE
    if free_mib < NEEDED_MIB:
        raise ConfigError(
            f"{free_mib} MiB are free for {output}, the demo needs {NEEDED_MIB}: "
            "free some, or name another --output"
        )
    os.environ["SO101_LOG"] = str(output / "last_error.log")
