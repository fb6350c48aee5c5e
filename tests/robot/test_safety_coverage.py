"""Every line of what keeps an arm safe is run by its own tests, not by chance from elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = (
    "arm_heights", "health", "health_fences", "health_rules", "health_timers", "joint_limiter",
    "limit_rules", "limits", "rest", "table",
)  # fmt: skip
TESTS = (
    "arm_heights", "health", "health_rules", "health_watches", "joint_limiter", "limit_rules",
    "limits", "rest", "table",
)  # fmt: skip


@pytest.mark.timeout(300)
def test_every_line_of_limits_health_and_rest_is_run(checkout: Path, tmp_path: Path) -> None:
    coverage = [sys.executable, "-m", "coverage"]
    data = f"--data-file={tmp_path / 'coverage'}"
    include = "--include=" + ",".join(f"robot/{name}.py" for name in MODULES)
    environment = {**os.environ, "COVERAGE_CORE": "sysmon"}  # no cost but at first runs of lines

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )

    # Properties need few examples to run every line; the twin's walks run none that is new.
    tests = run(
        *coverage, "run", data, include, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p",
        "no:xdist", "--hypothesis-profile=few", "-k", "not twins_arm_walks and not from_anywhere",
        *(f"tests/robot/test_{name}.py" for name in TESTS),
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout
    report = run(*coverage, "report", data, "--show-missing", "--fail-under=100")
    assert report.returncode == 0, report.stdout
    assert all(f"robot/{name}.py" in report.stdout for name in MODULES)
