import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets import LeRobotDataset
from rich.console import Console

from scripts import train_command
from scripts.train_command import Args, main, train_with_progress
from train import trainer
from train.log import TrainProgress
from train.presets import Recipe


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write joints alone: what the command does around the training is the same."""
    root = tmp_path_factory.mktemp("dataset") / "joints"
    vector = {"dtype": "float32", "shape": (6,), "names": [f"joint{n}.pos" for n in range(6)]}
    features = {"observation.state": vector, "action": dict(vector)}
    dataset = LeRobotDataset.create("local/joints", fps=30, features=features, root=root)
    for index in range(60):
        joints = np.full(6, index, dtype=np.float32)
        dataset.add_frame({"observation.state": joints, "action": joints + 1, "task": "rise"})
    dataset.save_episode()
    dataset.finalize()
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "CACHE_ROOT", tmp_path / "cache")


def test_trains_and_names_the_checkpoint(
    dataset_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(Args(dataset_root, tmp_path / "run", steps=3, batch_size=8, threads=1))

    assert code == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "000003" / "pretrained_model"
    assert f"checkpoint: {checkpoint}" in capsys.readouterr().out
    assert (checkpoint / "model.safetensors").is_file()


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(
    dataset_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(_bars: object, progress: TrainProgress) -> None:
        if progress.step == 20:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train_command._Bars, "on_step", interrupt)

    code = main(Args(dataset_root, tmp_path / "run", steps=500, batch_size=8, threads=1))

    assert code == 130
    assert "--resume" in capsys.readouterr().out
    assert os.readlink(tmp_path / "run" / "checkpoints" / "last") == "000021"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_shows_loss_and_speed(dataset_root: Path, tmp_path: Path) -> None:
    with (tmp_path / "screen").open("w") as screen:
        console = Console(file=screen, force_terminal=True, width=120)
        recipe = Recipe(steps=2, batch_size=8, threads=1)
        train_with_progress(dataset_root, tmp_path / "run", recipe, console=console)

    shown = (tmp_path / "screen").read_text()
    assert "2/2" in shown
    assert "loss" in shown
    assert "steps/s" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "no dataset at nowhere"),
        (["nowhere", "--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    checkout: Path, arguments: list[str], sentence: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts", "train", *arguments],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_help_does_not_wait_for_torch(checkout: Path) -> None:
    code = (
        "import sys, scripts.__main__ as m\n"
        "try: m.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'lerobot' not in sys.modules"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "--resume" in done.stdout
