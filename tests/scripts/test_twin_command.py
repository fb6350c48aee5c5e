"""`so101 twin` as a person meets it: the table, and one sentence with exit code 2 for bad input."""

from pathlib import Path

import pytest

from scripts.__main__ import main
from sim.faults import KINDS

PROFILE = """
schema = 1
name = "cli"
leader = { port = "twin:leader", id = "l" }
follower = { port = "twin:follower", id = "f" }
[twin]
task = "pick_red"
"""


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    path = tmp_path / "rig.toml"
    path.write_text(PROFILE)
    return path


@pytest.mark.realtime
def test_prints_device_names_and_stops_by_itself(
    rig: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["twin", "--rig", str(rig), "--duration-s", "0.2", "--hand", "demonstrator"])
    out = capsys.readouterr().out

    assert code == 0
    assert out.count("/dev/pts/") == 2
    assert "ipc://" in out
    assert out.rstrip().endswith("twin stopped (duration)")


@pytest.mark.parametrize(
    ("flags", "change", "sentence"),
    [
        (["--hand", "/nowhere.csv"], ("", ""), "there is no recording /nowhere.csv"),
        (["--fault", "explode"], ("", ""), "there is no fault 'explode'; faults are drop, delay"),
        (
            ["--fault", "mute", "--fault", "mute x=1"],
            ("", ""),
            "'x=1' means nothing here; 'mute' has",
        ),
        ([], ("pick_red", "juggle"), "the twin has no task 'juggle'; its tasks are pick_red"),
        ([], ("schema = 1", "schema = 9"), "schema 9 was written by a newer version"),
        ([], ('[twin]\ntask = "pick_red"', ""), "describes no twin; add a [twin] table"),
        ([], ("cli", "a name with spaces"), "- at `$.name`; mend the profile"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    rig: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    change: tuple[str, str],
    sentence: str,
) -> None:
    rig.write_text(PROFILE.replace(*change))
    code = main(["twin", "--rig", str(rig), *flags])
    captured = capsys.readouterr()

    assert code == 2
    assert sentence in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_help_lists_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["twin", "--help"])
    words = capsys.readouterr().out

    assert ended.value.code == 0
    for kind, info in KINDS.items():
        assert f"{kind}{'*' if info.is_packets else ''}: {info.summary[:20]}" in words
