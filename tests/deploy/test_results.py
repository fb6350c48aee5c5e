import json
from pathlib import Path

import msgspec
import pytest

from deploy.results import SCHEMA, EvaluationResult, TrialOutcome, load_result, save_result
from robot.errors import ConfigError, UnsupportedSchema

RESULT = EvaluationResult(
    kind="policy",
    clock="virtual",
    rig="twin",
    task="pick_red",
    control_rate_hz=100.0,
    trials=[
        TrialOutcome(1, {"red_x_m": 0.27}, "success", 4.2, {"red_height_m": 0.07}),
        TrialOutcome(2, {"red_x_m": 0.28}, "failure", 15.0),
    ],
)


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"

    save_result(RESULT, path)

    assert load_result(path) == RESULT
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_the_sentence_counts_and_bounds() -> None:
    assert RESULT.sentence == "1 of 2 (50 %, 95 % interval 9 to 91 %)"
    assert "0 of 0" in msgspec.structs.replace(RESULT, trials=[]).sentence


def test_refuses_a_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema": SCHEMA + 1, "unheard": "of"}))

    with pytest.raises(UnsupportedSchema, match=f"schema {SCHEMA + 1}"):
        load_result(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}', '{"schema": "one"}'])
def test_refuses_what_is_no_result(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)

    with pytest.raises(ConfigError, match="is not a result"):
        load_result(path)


def test_refuses_an_unknown_key(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save_result(RESULT, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"luck": 7}))

    with pytest.raises(ConfigError, match="luck"):
        load_result(path)


def test_says_that_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the result"):
        load_result(tmp_path / "results.json")


def test_leaves_nothing_half_written(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")

    with pytest.raises(ConfigError, match="--output"):
        save_result(RESULT, blocker / "results.json")

    assert list(tmp_path.iterdir()) == [blocker]
