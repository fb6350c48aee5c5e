"""The `so101` launcher, run for real with a stand-in for uv, on a machine made for each test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
FILES = ("so101", "pyproject.toml", "constraints.txt", "overrides.txt", "policies/pyproject.toml")
TOOLS = (
    "awk",
    "cat",
    "cksum",
    "df",
    "dirname",
    "head",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "ln",
    "sh",
)

# Writes down how it was called; makes a venv whose python is the one that runs the tests.
FAKE_UV = f"""#!/bin/sh
case $1 in --version) echo 'uv 9.9.9'; exit ;; esac
echo "$1 $2" >>"$UV_LOG"
case $1 in
    venv) for last; do :; done; mkdir -p "$last/bin"; ln -s {sys.executable} "$last/bin/python" ;;
    pip) [ ! -e "$UV_HOLD" ] || cat "$UV_HOLD"; exit "${{UV_FAIL:-0}}" ;;
    python) exit 1 ;;
esac
"""

COMMAND = "import os, sys; print(os.getcwd(), sys.argv[1:], os.environ['HF_HUB_OFFLINE'])"


class Machine:
    """A fresh machine: a checkout, a home and a PATH with nothing but the tools named."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.bin = folder / "bin"
        self.log = folder / "uv.log"
        self.hold = folder / "hold"
        self.bin.mkdir()
        for name in FILES:
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, self.checkout / name)
        (self.checkout / "scripts").mkdir()
        (self.checkout / "scripts" / "__init__.py").touch()
        (self.checkout / "scripts" / "__main__.py").write_text(COMMAND)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(folder),
            "UV_LOG": str(self.log),
            "UV_HOLD": str(self.hold),
        }

    def add_program(self, name: str, text: str) -> None:
        program = self.bin / name
        program.unlink(missing_ok=True)
        program.write_text(text)
        program.chmod(0o755)

    def add_python_and_uv(self) -> None:
        (self.bin / "python3.12").symlink_to(sys.executable)
        self.add_program("uv", FAKE_UV)

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.checkout / "so101"), *arguments],
            cwd=cwd or self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
        with self.start(*arguments, cwd=cwd) as process:
            out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def uv_calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_is_valid_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")

    subprocess.run([shell, "-n", str(CHECKOUT / "so101")], check=True)


def test_without_arguments_it_says_what_there_is_and_installs_nothing(machine: Machine) -> None:
    code, out, _ = machine.run()

    assert code == 0
    assert "./so101 demo" in out
    assert "./so101 test" in out
    assert not (machine.checkout / ".venv").exists()


def test_installs_on_first_use_and_not_again(machine: Machine) -> None:
    machine.add_python_and_uv()
    first = machine.run("teleop", "--keys")
    second = machine.run("teleop", "--keys")

    assert first[:2] == (0, f"{machine.checkout} ['teleop', '--keys'] 1\n")
    assert second == (0, first[1], "")
    assert machine.uv_calls() == ["venv --quiet", "pip install"]


def test_runs_from_the_checkout_wherever_it_is_typed(machine: Machine, tmp_path: Path) -> None:
    machine.add_python_and_uv()
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    link = elsewhere / "so101"
    link.symlink_to(machine.checkout / "so101")
    code, out, _ = machine.run("twin", cwd=elsewhere)
    through_link = subprocess.run(
        [link, "twin"],
        cwd=elsewhere,
        env=machine.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (code, out) == (0, f"{machine.checkout} ['twin'] 1\n")
    assert through_link.stdout == out


@pytest.mark.parametrize("name", FILES[1:])
def test_changed_pins_are_installed_over_the_old_ones(machine: Machine, name: str) -> None:
    machine.add_python_and_uv()
    machine.run("twin")
    with (machine.checkout / name).open("a") as file:
        file.write("# changed\n")
    code, _, err = machine.run("twin")

    assert code == 0
    assert "bringing .venv up to date" in err
    assert machine.uv_calls() == ["venv --quiet", "pip install", "pip install"]


def test_a_failed_installation_is_told_and_made_anew(machine: Machine) -> None:
    machine.add_python_and_uv()
    machine.environment["UV_FAIL"] = "1"
    failed = machine.run("twin")
    machine.environment["UV_FAIL"] = "0"
    (machine.checkout / ".venv" / "half-written").touch()
    code, _, _ = machine.run("twin")

    assert failed[0] == 2
    assert "run the same command again" in failed[2]
    assert code == 0
    assert not (machine.checkout / ".venv" / "half-written").exists()


def test_a_moved_checkout_and_a_dead_interpreter_get_a_new_environment(
    machine: Machine, tmp_path: Path
) -> None:
    machine.add_python_and_uv()
    machine.run("twin")
    machine.checkout.rename(tmp_path / "moved")
    machine.checkout = tmp_path / "moved"
    moved = machine.run("twin")
    python = machine.checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python3.12")
    dead = machine.run("twin")

    assert (moved[0], dead[0]) == (0, 0)
    assert machine.uv_calls() == ["venv --quiet", "pip install"] * 3


def test_two_first_uses_at_once_install_once(machine: Machine) -> None:
    machine.add_python_and_uv()
    os.mkfifo(machine.hold)
    first = machine.start("twin")
    held = os.open(
        machine.hold, os.O_WRONLY
    )  # returns once the first one's uv reads: it is installing
    second = machine.start("twin")
    assert second.stderr is not None
    said = second.stderr.readline()
    machine.hold.unlink()
    os.close(held)
    codes = [process.wait(timeout=30) for process in (first, second)]
    for process in (first, second):
        process.communicate()

    assert "another so101 is installing" in said
    assert codes == [0, 0]
    assert machine.uv_calls() == ["venv --quiet", "pip install"]


def test_names_what_brings_python_when_there_is_none(machine: Machine) -> None:
    machine.add_program(
        "python3.12", "#!/bin/sh\nexit 127\n"
    )  # a pyenv shim of a version not installed
    machine.add_program("pyenv", "#!/bin/sh\n")
    code, out, err = machine.run("demo")

    assert (code, out) == (2, "")
    assert err == "so101: Python 3.12 was not found: pyenv install 3.12\n"
    assert not (machine.checkout / ".venv").exists()


def test_names_uv_first_where_it_is_there(machine: Machine) -> None:
    machine.add_program("uv", FAKE_UV)
    code, _, err = machine.run("demo")

    assert code == 2
    assert err == "so101: Python 3.12 was not found: uv python install 3.12\n"


def test_takes_a_python_that_only_pyenv_knows(machine: Machine, tmp_path: Path) -> None:
    machine.add_program("uv", FAKE_UV)
    pyenv = tmp_path / ".pyenv" / "versions" / "3.12.7" / "bin"
    pyenv.mkdir(parents=True)
    (pyenv / "python").symlink_to(sys.executable)

    assert machine.run("twin")[0] == 0


def test_names_the_package_that_brings_opengl(machine: Machine) -> None:
    machine.add_program("uv", FAKE_UV)
    machine.add_program(  # works, but finds no library: that check comes on standard input
        "python3.12",
        f'#!/bin/sh\ncase $2 in *sys.executable*) echo "$0"; exit ;; esac\n'
        f'[ "$1" != - ] || exit 0\nexec {sys.executable} "$@"\n',
    )
    code, _, err = machine.run("demo")

    assert code == 2
    assert "no OpenGL library" in err
    assert "apt-get install libegl1 libgl1 libgl1-mesa-dri" in err
    assert not (machine.checkout / ".venv").exists()


def test_names_the_package_that_brings_venv(machine: Machine) -> None:
    machine.add_program(  # Debian splits ensurepip off
        "python3.12",
        '#!/bin/sh\ncase $2 in *sys.executable*) echo "$0"; exit ;; *ensurepip*) exit 1 ;; esac\n'
        f'exec {sys.executable} "$@"\n',
    )
    code, _, err = machine.run("demo")

    assert code == 2
    assert "apt-get install python3.12-venv" in err
    assert not (machine.checkout / ".venv").exists()


def test_refuses_a_disk_that_is_too_small(machine: Machine) -> None:
    machine.add_python_and_uv()
    machine.add_program("df", "#!/bin/sh\necho head\necho 'disk 1 1 4194304 1% /'\n")
    code, _, err = machine.run("demo")

    assert code == 2
    assert "need 8 GB of disk" in err
    assert "4 GB free" in err
    assert not (machine.checkout / ".venv").exists()


def test_pip_brings_uv_where_there_is_none(machine: Machine, tmp_path: Path) -> None:
    """A program that merely is called uv is not taken for it."""
    machine.add_program("uv", "#!/bin/sh\necho universal viewer\n")
    machine.add_program("uv-from-pip", FAKE_UV)
    machine.add_program(
        "python3.12",
        f"""#!/bin/sh
case "$1 $2" in
    *sys.executable*) echo "$0" ;;
    '-m venv') mkdir -p "$3/bin"; ln -s {machine.bin}/python3.12 "$3/bin/python" ;;
    '-m ensurepip') ;;
    '-m pip')
        echo "pip $*" >>"$UV_LOG"
        [ "${{PIP_FAIL:-}}" ] || ln -s {machine.bin}/uv-from-pip "${{0%python}}uv" ;;
    *) exec {sys.executable} "$@" ;;
esac
[ -z "${{PIP_FAIL:-}}" ] || [ "$2" != pip ]
""",
    )
    machine.environment["PIP_FAIL"] = "1"
    failed = machine.run("twin")
    del machine.environment["PIP_FAIL"]
    code, out, _ = machine.run("twin")
    calls = machine.uv_calls()

    assert failed[0] == 2
    assert "pip could not install uv" in failed[2]
    assert (code, out) == (0, f"{machine.checkout} ['twin'] 1\n")
    assert f"--constraint {machine.checkout}/constraints.txt uv" in calls[1]
    assert calls[2:] == ["pip install"]
