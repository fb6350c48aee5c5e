import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from record.journal import JournalWriter
from scripts.export_command import Args, main

type Record = Callable[..., JournalWriter]


def test_exports_a_folder_and_says_what_it_did(
    tmp_path: Path, journals: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(Args(journals[0].parent, tmp_path / "data", workers=0)) == 0

    printed = capsys.readouterr().out
    assert "3 episodes" in printed
    assert "3 added, 0 were there" in printed
    assert (tmp_path / "data/meta/info.json").is_file()


def test_failed_and_unfinished_episodes_are_left_out_unless_asked_for(
    tmp_path: Path, record_episode: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "journals"
    record_episode(folder / "episode_000000.mcap", episode=0, duration_s=0.3)
    record_episode(folder / "episode_000001.mcap", episode=1, duration_s=0.3, outcome="fail")
    cut = record_episode(
        folder / "episode_000002.mcap", episode=2, duration_s=0.3, outcome="", keep_open=True
    )
    cut.abandon()

    main(Args(folder, tmp_path / "some", workers=0))
    main(
        Args(
            folder,
            tmp_path / "all",
            workers=0,
            unfinished=True,
            only=["success", "unmarked", "fail"],
        )
    )

    printed = capsys.readouterr().out
    assert "1 episodes" in printed
    assert "1 left out by outcome" in printed
    assert "3 episodes" in printed


def test_an_episode_that_lost_rows_is_named_and_left_out_beyond_a_twentieth(
    tmp_path: Path, record_episode: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "journals"
    few, many = frozenset({86, 87, 88}), frozenset(range(60, 100))
    record_episode(folder / "episode_000000.mcap", episode=0, duration_s=3.0, lost=few)
    record_episode(folder / "episode_000001.mcap", episode=1, duration_s=3.0, lost=many)

    main(Args(folder, tmp_path / "whole", workers=0))
    strict = capsys.readouterr().out
    main(Args(folder, tmp_path / "all", workers=0, allow_gaps=True))
    lenient = capsys.readouterr().out

    assert "1 episodes" in strict
    assert "episode_000000.mcap: 4 of 90 rows left out (camera 'wrist' silent for 1" in strict
    assert "left out " + str(folder / "episode_000001.mcap") + ": 31 of 90 rows" in strict
    assert "--allow-gaps" in strict
    assert "2 episodes" in lenient
    assert "episode_000001.mcap: 31 of 90 rows left out" in lenient


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "--output", "data"], "nowhere is not a folder"),
        ([".", "--output", "data"], "record first"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, checkout: Path, arguments: list[str], sentence: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts", "export", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "data").exists()
