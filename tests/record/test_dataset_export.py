import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.datasets.compute_stats import aggregate_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray

from record.align import align
from record.dataset import export_dataset
from record.dataset_writer import DatasetWriter
from record.journal import JournalWriter, read_journal
from record.tables import read_rows
from robot.errors import ConfigError, StorageFull
from robot.files import move_whole, write_whole

type Record = Callable[..., JournalWriter]

REPO = "local/test"


def open_lerobot(root: Path, **options: Any) -> Any:
    """LeRobot's annotations are narrower than what it returns."""
    return LeRobotDataset(REPO, root=root, video_backend="pyav", **options)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_lerobot_reads_every_row_and_every_picture(tmp_path: Path, journals: list[Path]) -> None:
    result = export_dataset(journals, tmp_path / "data", repo_id=REPO, workers=0)

    dataset = open_lerobot(tmp_path / "data")

    alignments = [align(read_journal(path), 30) for path in journals]
    state_deg = np.concatenate([alignment.state_deg for alignment in alignments])
    action_deg = np.concatenate([alignment.action_deg for alignment in alignments])
    shown = np.concatenate([alignment.frame_index["wrist"] for alignment in alignments])
    assert len(dataset) == result.frames == len(state_deg)
    assert dataset.num_episodes == result.episodes == 3
    for row in range(len(dataset)):
        item = dataset[row]
        np.testing.assert_allclose(item["observation.state"].numpy(), state_deg[row], atol=1e-4)
        np.testing.assert_allclose(item["action"].numpy(), action_deg[row], atol=1e-4)
        for camera in ("front", "wrist"):
            picture = item[f"observation.images.{camera}"].numpy() * 255
            assert picture.shape == (3, 48, 64)
            np.testing.assert_allclose(picture.mean(), 20 + 5 * shown[row], atol=2.0)
        assert item["task"] == "pick the red block"
    assert dataset.meta.robot_type == "so_follower"
    assert dataset.meta.fps == 30


def test_lerobot_delta_timestamps_work(tmp_path: Path, journals: list[Path]) -> None:
    export_dataset(journals, tmp_path / "data", repo_id=REPO, workers=0)

    dataset = open_lerobot(
        tmp_path / "data",
        delta_timestamps={
            "action": [step / 30 for step in range(8)],
            "observation.images.wrist": [-1 / 30, 0.0],
        },
    )

    item = dataset[len(dataset) - 3]
    assert item["action"].shape == (8, 6)
    assert item["observation.images.wrist"].shape == (2, 3, 48, 64)
    assert item["action_is_pad"].tolist() == [False] * 3 + [True] * 5


def test_episodes_can_be_chosen(tmp_path: Path, journals: list[Path]) -> None:
    export_dataset(journals, tmp_path / "data", repo_id=REPO, workers=0)

    dataset = open_lerobot(tmp_path / "data", episodes=[1])

    assert {int(dataset[row]["episode_index"]) for row in range(len(dataset))} == {1}


def test_lerobot_appends_to_it(tmp_path: Path, journals: list[Path]) -> None:
    result = export_dataset(journals, tmp_path / "data", repo_id=REPO, workers=0)
    dataset: Any = LeRobotDataset.resume(REPO, root=tmp_path / "data")
    for _ in range(3):
        dataset.add_frame(
            {
                "action": np.zeros(6, np.float32),
                "observation.state": np.zeros(6, np.float32),
                "observation.images.wrist": np.zeros((48, 64, 3), np.uint8),
                "observation.images.front": np.zeros((48, 64, 3), np.uint8),
                "task": "another",
            }
        )
    dataset.save_episode()
    dataset.finalize()

    again = open_lerobot(tmp_path / "data")

    assert len(again) == result.frames + 3
    assert again[result.frames + 1]["task"] == "another"
    assert again[result.frames - 1]["task"] == "pick the red block"


def test_an_export_in_two_parts_equals_one(tmp_path: Path, journals: list[Path]) -> None:
    export_dataset(journals, tmp_path / "once", repo_id=REPO, workers=0)
    first = export_dataset(journals[:1], tmp_path / "twice", repo_id=REPO, workers=0)

    second = export_dataset(journals, tmp_path / "twice", repo_id=REPO, workers=0)
    third = export_dataset(journals, tmp_path / "twice", repo_id=REPO, workers=0)

    assert (first.added, second.added, second.already_there, third.added) == (1, 2, 1, 0)
    assert files(tmp_path / "twice") == files(tmp_path / "once")


def test_worker_processes_make_the_same_files_and_are_gone(
    tmp_path: Path, journals: list[Path]
) -> None:
    seen: list[tuple[int, int, str]] = []
    export_dataset(journals, tmp_path / "here", repo_id=REPO, workers=0)
    export_dataset(
        journals,
        tmp_path / "there",
        repo_id=REPO,
        workers=2,
        progress=lambda done, total, name: seen.append((done, total, name)),
    )

    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert seen == [(index + 1, 3, path.name) for index, path in enumerate(journals)]
    assert multiprocessing.active_children() == []


class Crash(BaseException):
    """Stands for the process ending between two writes."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, journals: list[Path]) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("whole") / "data"
    export_dataset(journals[:2], root, repo_id=REPO, workers=0)
    return files(root)


@pytest.mark.parametrize("survived", range(1, 19))
def test_stopped_between_any_two_writes_it_continues_to_the_same_dataset(
    tmp_path: Path,
    journals: list[Path],
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    survived: int,
) -> None:
    """Without the tidying up that a clean error does: as after a kill."""
    root = tmp_path / "data"
    count = 0

    def counted[**P](write: Callable[P, None]) -> Callable[P, None]:
        def inner(*args: P.args, **kwargs: P.kwargs) -> None:
            nonlocal count
            count += 1
            if count > survived:
                raise Crash
            write(*args, **kwargs)

        return inner

    with monkeypatch.context() as patch:
        patch.setattr("record.dataset_writer.write_whole", counted(write_whole))
        patch.setattr("record.dataset_writer.move_whole", counted(move_whole))
        patch.setattr(DatasetWriter, "close", lambda _: None)
        try:
            export_dataset(journals[:2], root, repo_id=REPO, workers=0)
        except Crash:
            if survived % 3 == 2 and (root / "meta/info.json").exists():
                committed = json.loads((root / "meta/info.json").read_bytes())["total_frames"]
                assert len(open_lerobot(root)) == committed  # what is visible is complete

    export_dataset(journals[:2], root, repo_id=REPO, workers=0)

    assert files(root) == whole


@pytest.mark.parametrize("limit_bytes", [500, 3_000, 10_000])
def test_a_full_disk_keeps_finished_episodes_and_leaves_nothing_half_written(
    tmp_path: Path, journals: list[Path], limit_bytes: int
) -> None:
    root = tmp_path / "data"
    export_dataset(journals[:1], root, repo_id=REPO, workers=0)
    before = files(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        with pytest.raises(StorageFull, match="no space left"):
            export_dataset(journals[:2], root, repo_id=REPO, workers=0)
        with pytest.raises(StorageFull, match="no space left"):
            export_dataset(journals[:2], tmp_path / "new", repo_id=REPO, workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert files(root) == before
    assert not (tmp_path / "new").exists()
    assert export_dataset(journals[:2], root, repo_id=REPO, workers=0).added == 1


def test_another_rate_is_refused_before_anything_is_encoded(
    tmp_path: Path, journals: list[Path]
) -> None:
    root = tmp_path / "data"
    export_dataset(journals, root, repo_id=REPO, workers=0)
    before = files(root)

    with pytest.raises(ConfigError, match=r"fps: 30 there, 15 here"):
        export_dataset(journals, root, repo_id=REPO, fps=15, workers=0)
    with pytest.raises(ConfigError, match=r"codec: h264 there, av1 here"):
        export_dataset(journals, root, repo_id=REPO, codec="libsvtav1", workers=0)

    assert files(root) == before


def test_other_cameras_are_refused_with_the_field(
    tmp_path: Path, journals: list[Path], record_episode: Record
) -> None:
    root = tmp_path / "data"
    export_dataset(journals, root, repo_id=REPO, workers=0)
    other = tmp_path / "episode_000009.mcap"
    record_episode(other, episode=9, duration_s=0.5, cameras=("top", "wrist"))

    with pytest.raises(ConfigError, match=r"images.front: only there.*images.top: only here"):
        export_dataset([other], root, repo_id=REPO, workers=0)

    assert (
        len(open_lerobot(root))
        == json.loads((root / "meta/info.json").read_bytes())["total_frames"]
    )


def test_rebuild_replaces_the_dataset_whole(tmp_path: Path, journals: list[Path]) -> None:
    root = tmp_path / "data"
    export_dataset(journals, root, repo_id=REPO, workers=0)

    result = export_dataset(journals, root, repo_id=REPO, fps=10, workers=0, rebuild=True)

    assert result.root == root
    dataset = open_lerobot(root)
    assert dataset.meta.fps == 10
    assert len(dataset) == result.frames
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_foreign_folder_is_never_touched(tmp_path: Path, journals: list[Path]) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "thesis.txt").write_text("important")

    for rebuild in (False, True):
        with pytest.raises(ConfigError, match="not written by so101"):
            export_dataset(journals, root, repo_id=REPO, workers=0, rebuild=rebuild)

    assert files(root) == {"thesis.txt": b"important"}


def test_a_journal_that_makes_no_episode_is_left_out_and_named(
    tmp_path: Path, journals: list[Path], record_episode: Record
) -> None:
    short = tmp_path / "episode_000009.mcap"
    record_episode(short, episode=9, duration_s=0.02)

    result = export_dataset([short, *journals], tmp_path / "data", repo_id=REPO, workers=2)

    assert result.added == 3
    assert [name for name, _ in result.skipped] == ["episode_000009.mcap"]
    with pytest.raises(ConfigError, match="no journal makes an episode"):
        export_dataset([short], tmp_path / "none", repo_id=REPO, workers=0)


def test_a_cut_off_journal_makes_an_episode(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    writer = record_episode(path, duration_s=1.0, keep_open=True)
    writer.abandon()
    content = writer.part_path.read_bytes()
    writer.part_path.write_bytes(content[: len(content) * 2 // 3])

    result = export_dataset([writer.part_path], tmp_path / "data", repo_id=REPO, workers=0)

    assert 15 <= result.frames <= 22
    assert len(open_lerobot(tmp_path / "data")) == result.frames


def test_statistics_are_those_of_the_rows(tmp_path: Path, journals: list[Path]) -> None:
    root = tmp_path / "data"
    export_dataset(journals, root, repo_id=REPO, workers=0)

    dataset = open_lerobot(root)

    stats = dataset.meta.stats
    assert set(stats) == set(dataset.features)
    action = np.stack([dataset[row]["action"].numpy() for row in range(len(dataset))])
    np.testing.assert_allclose(stats["action"]["mean"], action.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats["action"]["std"], action.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats["action"]["max"], action.max(axis=0), rtol=1e-6)
    image = np.stack(
        [dataset[row]["observation.images.wrist"].numpy() for row in range(len(dataset))]
    )
    wrist = stats["observation.images.wrist"]
    assert wrist["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(wrist["mean"].ravel(), image.mean(axis=(0, 2, 3)), atol=0.01)
    np.testing.assert_allclose(wrist["std"].ravel(), image.std(axis=(0, 2, 3)), atol=0.01)
    for feature in stats.values():
        assert int(feature["count"][0]) == len(dataset)
        assert (feature["min"] <= feature["q01"]).all()
        assert (feature["q01"] <= feature["q50"]).all()
        assert (feature["q50"] <= feature["q99"]).all()
        assert (feature["q99"] <= feature["max"]).all()


def test_statistics_add_up_as_in_lerobot(tmp_path: Path, journals: list[Path]) -> None:
    root = tmp_path / "data"
    export_dataset(journals, root, repo_id=REPO, workers=0)
    parts = []
    for path in sorted((root / "meta/episodes").glob("*/*.parquet")):
        (row,) = read_rows(path)
        part: dict[str, dict[str, NDArray[np.float64]]] = {}
        for key, value in row.items():
            if key.startswith("stats/"):
                _, feature, figure = key.split("/")
                part.setdefault(feature, {})[figure] = np.array(value)
        parts.append(part)

    expected = aggregate_stats(parts)

    ours = json.loads((root / "meta/stats.json").read_bytes())
    for feature, figures in expected.items():
        for figure, value in figures.items():
            np.testing.assert_allclose(ours[feature][figure], value, rtol=1e-9, atol=1e-12)


def test_the_sidecar_tells_where_each_row_is_from(tmp_path: Path, journals: list[Path]) -> None:
    root = tmp_path / "data"
    export_dataset(journals, root, repo_id=REPO, workers=0)

    described = json.loads((root / "so101/episodes/episode_000001.json").read_bytes())
    timing = read_rows(root / "so101/timing/episode_000001.parquet")

    alignment = align(read_journal(journals[1]), 30)
    assert described["schema"] == 1
    assert described["journal"] == "episode_000001.mcap"
    assert described["calibration_sha256"] == {"follower": "ab" * 32}
    assert described["task_start"] == {"red_x_m": 0.28}
    assert described["seed"] == 1
    assert described["outcome"] == "success"
    assert len(timing) == described["rows"] == len(alignment.row_s)
    assert timing[4]["row_s"] == alignment.row_s[4]
    assert timing[4]["asked_deg.2"] == alignment.asked_deg[4, 2]


def test_a_missing_episode_file_is_noticed(tmp_path: Path, journals: list[Path]) -> None:
    root = tmp_path / "data"
    export_dataset(journals, root, repo_id=REPO, workers=0)
    (root / "meta/episodes/chunk-000/file-001.parquet").unlink()

    with pytest.raises(ConfigError, match="episode 1 is missing or out of order"):
        DatasetWriter(root, REPO)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"fps": 0}, "at least 1 row"), ({"codec": "mpeg2"}, "choose one of h264, libsvtav1")],
)
def test_bad_options_are_named(
    tmp_path: Path, journals: list[Path], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_dataset(journals, tmp_path / "data", repo_id=REPO, workers=0, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no journal"):
        export_dataset([], tmp_path / "data", repo_id=REPO)

    assert not (tmp_path / "data").exists()


PROGRAM = """
import sys
from pathlib import Path
from typing import Any
sys.path.insert(0, sys.argv[1])
from record.dataset import export_dataset
if __name__ == "__main__":
    paths = sorted(Path(sys.argv[2]).glob("*.mcap"))
    export_dataset(paths, Path(sys.argv[3]), repo_id="local/test", workers=2)
"""


@pytest.mark.realtime
def test_workers_go_when_their_parent_is_killed(tmp_path: Path, record_episode: Record) -> None:
    for episode in range(6):
        record_episode(tmp_path / f"j/episode_{episode:06d}.mcap", episode=episode, duration_s=1.5)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    checkout = str(Path(__file__).parent.parent.parent)
    parent = subprocess.Popen(
        [sys.executable, str(program), checkout, str(tmp_path / "j"), str(tmp_path / "data")]
    )
    deadline_s = time.monotonic() + 40
    while not (tmp_path / "data/meta/info.json").exists():
        assert time.monotonic() < deadline_s, "the export never began"
        time.sleep(0.02)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert len(children) >= 2

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    deadline_s = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{child}") and not _is_zombie(child) for child in children):
        assert time.monotonic() < deadline_s, "an export worker outlived its parent"
        time.sleep(0.05)
    result = export_dataset(
        sorted((tmp_path / "j").glob("*.mcap")), tmp_path / "data", repo_id=REPO, workers=0
    )
    assert result.episodes == 6
    assert len(open_lerobot(tmp_path / "data")) == result.frames


def _is_zombie(process_id: str) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
