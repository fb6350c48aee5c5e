"""Guards of the top-level packages (docs/adr/0001) and of what the light rooms may import."""

import importlib
import importlib.metadata
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
ROOMS = (
    "robot", "teleop", "record", "train", "deploy", "calibration", "sim", "benchmarks", "scripts",
)  # fmt: skip
LIGHT_ROOMS = ("robot", "teleop", "calibration", "sim")
NEEDS_A_DISPLAY = {"teleop.x_keyboard"}  # pynput looks for one when it is imported
OURS = {"so101-stack", "so101_stack"}

# Imports one module after another and prints the first after which a heavy one is loaded.
_IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    heavy = sorted({"torch", "lerobot"} & set(sys.modules))
    if heavy:
        sys.exit(f"{name} imports {' and '.join(heavy)}")
"""


@cache
def _owners() -> dict[str, list[str]]:
    return {
        name: list(owners) for name, owners in importlib.metadata.packages_distributions().items()
    }


def _modules(room: str) -> list[str]:
    files = sorted((CHECKOUT / room).rglob("*.py"))
    parts = [file.relative_to(CHECKOUT).with_suffix("").parts for file in files]
    names = [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]
    return [name for name in names if name not in NEEDS_A_DISPLAY]


@pytest.mark.parametrize("room", ROOMS)
def test_our_room_wins_over_any_installed_package(room: str) -> None:
    module = importlib.import_module(room)

    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(CHECKOUT)


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_installs_the_name_of_a_room(room: str) -> None:
    others = sorted(set(_owners().get(room, [])) - OURS)

    assert not others, (
        f"{others} also installs a top-level {room!r}. Whichever comes first on sys.path wins: "
        "uninstall it or use a separate venv."
    )


@pytest.mark.parametrize("name", ["cv2", "evdev", "serial", "scservo_sdk"])
def test_one_distribution_alone_provides(name: str) -> None:
    """Two would overwrite each other's files (docs/adr/0002, 0003)."""
    if name == "evdev" and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("evdev-binary is for Linux on x86-64")

    assert len(set(_owners()[name])) == 1, _owners()[name]


def test_every_room_says_what_it_is_for() -> None:
    undocumented = [
        room for room in ROOMS if not (importlib.import_module(room).__doc__ or "").strip()
    ]

    assert undocumented == []


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_a_light_room_loads_neither_torch_nor_lerobot(room: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", _IMPORT_ALL, *_modules(room)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert result.returncode == 0, result.stderr
