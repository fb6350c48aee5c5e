"""Do the whole job on the digital twin: calibrate, record, train and evaluate.

Then a demonstration and a rollout in real time. Every step is a command that can be repeated by
hand; the report lists them all. Nothing but a processor is needed.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from robot.errors import ConfigError
from scripts.demo_report import DemoStep, write_report

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


FULL = Scale(episodes=150, train_steps=4000, trials=50)
QUICK = Scale(episodes=12, train_steps=250, trials=6)


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
    _make_room(args.output)
    steps: list[DemoStep] = []
    started_s = time.monotonic()
    for title, words in _plan(args, scale):
        console.rule(f"[bold]{len(steps) + 1}. {title}[/]", align="left")
        command = "./so101 " + " ".join(words)
        console.print(f"[dim]{command}[/]", highlight=False, soft_wrap=True)
        step_s = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "scripts", *words], check=False).returncode
        steps.append(DemoStep(title, command, time.monotonic() - step_s))
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


def _plan(args: Args, scale: Scale) -> list[tuple[str, list[str]]]:
    """Return title and command line of each step."""
    out = str(args.output)
    seed = str(args.seed)
    record = ["record", "--output", f"{out}/data", "--demonstrator", "--virtual"]
    record += ["--episodes", str(scale.episodes), "--seed", seed]
    train = ["train", f"{out}/data/dataset", "--output", f"{out}/train"]
    train += ["--steps", str(scale.train_steps), "--seed", seed]
    evaluate = ["evaluate", f"{out}/train", "--trials", str(scale.trials)]
    evaluate += ["--training-journals", f"{out}/data/journals", "--control", "nearest-replay"]
    evaluate += ["--output", f"{out}/evaluation/results.json"]
    demonstrate = ["record", "--output", f"{out}/realtime", "--demonstrator"]
    demonstrate += ["--episodes", "1", "--seed", "500000"]
    deploy = ["deploy", f"{out}/train", "--yes", "--episodes", "1", "--record", f"{out}/rollout"]
    deploy += ["--seed", "600000", "--output", f"{out}/rollout/results.json"]
    return [
        ("calibrate both arms, by an emulated hand", ["calibrate", "--virtual"]),
        ("record demonstrations and derive the dataset", record),
        ("train", train),
        ("evaluate, with replay of the nearest demonstration as control", evaluate),
        ("one demonstration in real time, over serial devices", demonstrate),
        ("one rollout in real time, over serial devices", deploy),
    ]


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
