"""`so101 export`: episode journals → a LeRobotDataset v3.0, as often as wanted."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from record.dataset import ExportResult, export_dataset
from record.journal import list_journals
from record.journal_reader import read_journal
from robot.errors import ConfigError


@dataclass
class Args:
    """Make a LeRobotDataset from a folder of episode journals, or append what is new to it.

    Run again after new episodes were recorded or after an interruption: journals already in the
    dataset are skipped, and every finished episode stays.
    """

    journals: Annotated[Path, tyro.conf.Positional]
    """Folder with episode_*.mcap files."""
    output: Path
    """Folder of the dataset; created when it is not there."""
    repo_id: str = ""
    """The dataset's name on the Hugging Face hub, owner/name; default: local/<folder>."""
    fps: int = 30
    """Rows a second."""
    task: str | None = None
    """Instruction written to every row; default: the one each journal was recorded with."""
    codec: Literal["h264", "libsvtav1"] = "h264"
    """Video encoder: h264 is fast, libsvtav1 (LeRobot's default) is smaller."""
    workers: int = 2
    """Encoding processes."""
    only: list[Literal["success", "unmarked", "fail"]] = field(
        default_factory=lambda: ["success", "unmarked"]
    )
    """Outcomes to export; episodes marked failed are left out by default."""
    unfinished: bool = False
    """Also take journals that were cut off (*.mcap.part), up to their last whole message."""
    rebuild: bool = False
    """Write the dataset anew (other fps, other codec); it replaces the old one at the end."""
    allow_gaps: bool = False
    """Also take episodes that lose more than 5 % of their rows to a silent device: of such an
    episode only the longest stretch without a gap is left."""


def main(args: Args) -> int:
    """Export; prints what was added and what was left out and why."""
    if not args.journals.is_dir():
        raise ConfigError(
            f"{args.journals} is not a folder; name the one that holds episode_*.mcap"
        )
    paths = list_journals(args.journals, unfinished=args.unfinished)
    chosen = [path for path in paths if read_journal(path).outcome in args.only]
    if not chosen:
        raise ConfigError(
            f"{args.journals} holds {len(paths)} journals, none of them marked "
            f"{' or '.join(args.only)}; record first, or widen --only"
        )
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        shown = bar.add_task("export", total=len(chosen))
        result = export_dataset(
            chosen,
            args.output,
            repo_id=args.repo_id or f"local/{args.output.name}",
            fps=args.fps,
            task=args.task,
            codec=args.codec,
            workers=args.workers,
            rebuild=args.rebuild,
            allow_gaps=args.allow_gaps,
            progress=lambda done, total, _name: bar.update(shown, completed=done, total=total),
        )
    print_result(result, left_out=len(paths) - len(chosen))
    return 0


def print_result(result: ExportResult, *, left_out: int) -> None:
    """Say what is in the dataset now."""
    print(
        f"{result.root}: {result.episodes} episodes, {result.frames} rows "
        f"({result.added} added, {result.already_there} were there, {left_out} left out by outcome)"
    )
    for name, gap in result.gaps:
        print(f"{name}: {gap}")
    for _name, reason in result.skipped:
        print(f"left out {reason}")
