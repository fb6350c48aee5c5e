from pathlib import Path

import pytest

from robot.errors import ConfigError, UnsupportedSchema
from robot.rig import lerobot_calibration_root, load_rig

GOOD = Path("configs/twin.toml")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rig.toml"
    path.write_text(text)
    return path


def test_the_default_profile_loads() -> None:
    profile = load_rig(GOOD)

    assert profile.follower.port == "twin:follower"
    assert set(profile.cameras) == {"wrist", "front"}


def test_an_unknown_key_is_refused_with_its_line(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("control_rate_hz = 100.0", "control_rate = 100.0")

    with pytest.raises(ConfigError, match=r"rig\.toml, line 4: .*control_rate"):
        load_rig(written(tmp_path, text))


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("schema = 1", "schema = 99")

    with pytest.raises(UnsupportedSchema, match="newer version"):
        load_rig(written(tmp_path, text))


def test_a_wrong_type_is_refused(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("control_rate_hz = 100.0", 'control_rate_hz = "fast"')

    with pytest.raises(ConfigError, match=r"line 4.*Expected `float`"):
        load_rig(written(tmp_path, text))


def test_what_is_not_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 2"):
        load_rig(written(tmp_path, "schema = 1\nname = \n"))


def test_a_missing_profile_says_which_flag_to_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--rig"):
        load_rig(tmp_path / "absent.toml")


def test_lerobots_folder_follows_its_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_LEROBOT_CALIBRATION", raising=False)
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))

    assert lerobot_calibration_root() == tmp_path / "calibration"
