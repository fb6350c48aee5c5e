"""Run a command: `python -m scripts COMMAND`, or `./so101 COMMAND`."""

import importlib
import math
import os
import re
import sys
import traceback
from pathlib import Path

import tyro

from robot.errors import ConfigError, So101Error
from scripts.exit_codes import FAILED, INTERRUPTED, REFUSALS, REFUSED
from scripts.steps import end_with_starter

# In the order a newcomer needs them.
COMMANDS = {
    "demo": "the whole job on the digital twin: calibrate, record, train, evaluate, report",
    "twin": "run the digital twin: two emulated arms and two cameras on real device names",
    "calibrate": "sweep the joints of both arms by hand and store what they say",
    "teleop": "drive the follower with the leader, or with keys",
    "record": "record demonstrations into an episode journal and a LeRobot dataset",
    "export": "rebuild the dataset from the journals",
    "train": "train a policy on a dataset",
    "deploy": "let a policy drive the follower",
    "evaluate": "measure a policy's success over many starts",
    "bench": "measure the control path beside LeRobot, or the twin beside real arms",
}

UNITS = re.compile(r"_(s|ms|mm)$")


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "usage: so101 COMMAND [options]   (so101 COMMAND --help explains each)\n\n" + "\n".join(
        lines
    )


def check_durations(args: object) -> None:
    """Refuse times and lengths (`_s`, `_ms`, `_mm`) below zero, and what is no number at all."""
    for name, value in vars(args).items():
        if isinstance(value, float) and (math.isnan(value) or value < 0) and UNITS.search(name):
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} {value:g} is no length: give a number of 0 or more")


def write_log(details: str) -> str:
    """Keep the details of a defect, and say where; on a full disk they go with the sentence."""
    log = Path(os.environ.get("SO101_LOG", "outputs/last_error.log"))
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(details)
    except OSError as error:
        print(details, file=sys.stderr)
        return f"details above: {log} cannot be written, {error.strerror}"
    return f"details in {log}"


def _print_error(name: str, sentence: str, error: BaseException) -> None:
    """Print what ended a command, and what was found out after it."""
    for line in (sentence, *getattr(error, "__notes__", ())):
        print(f"so101 {name}: {line}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Run one command.

    Returns the exit code: 0 done, 1 failed on the way, 2 refused (input, devices, disk), 130
    interrupted.
    """
    end_with_starter()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        print(f"so101: there is no command '{name}'\n\n{usage()}", file=sys.stderr)
        return REFUSED
    try:
        module = importlib.import_module(f"scripts.{name}_command")
        args = tyro.cli(module.Args, prog=f"so101 {name}", description=module.__doc__, args=rest)
        check_durations(args)
        return int(module.main(args))
    except So101Error as error:
        _print_error(name, str(error), error)
        return REFUSED if isinstance(error, REFUSALS) else FAILED
    except KeyboardInterrupt as error:
        _print_error(name, "interrupted", error)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the one place that turns a defect into a sentence
        where = write_log(traceback.format_exc())
        print(
            f"so101 {name}: unexpected {type(error).__name__}: {error} ({where})", file=sys.stderr
        )
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
