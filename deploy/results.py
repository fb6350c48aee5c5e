"""The one result file: what was tried, how it went, how sure that is; JSON with a `schema`."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from deploy.plan_log import PlanStatistics
from deploy.statistics import Percentiles, wilson_interval
from robot.errors import ConfigError, UnsupportedSchema
from robot.files import write_whole

SCHEMA: Final = 1

Outcome = Literal["success", "failure", "unmarked"]  # unmarked: nobody judged


class TrialOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One trial: from which start, and how it ended."""

    seed: int
    start: dict[
        str, float
    ]  # the numbers of the start that matter for the task, SI units, unit in the name
    outcome: Outcome
    duration_s: float  # on the rig's clock
    notes: dict[
        str, float | str
    ] = {}  # side notes: e.g. final height of the block, distance to the nearest demonstration


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the loop kept time; milliseconds."""

    ticks: int
    missed: int
    lateness_ms: Percentiles | None


class EvaluationResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An evaluation of one policy, or of a control that takes its place."""

    schema: int = SCHEMA
    kind: Literal["policy", "nearest-replay"]
    clock: Literal["virtual", "real"]
    rig: str
    task: str
    checkpoint: str = ""
    policy_type: str = ""
    weights_sha256: str = ""
    dataset: str = ""
    control_rate_hz: float
    policy_fps: float = 0.0
    execute_steps: int = 0
    chunk_steps: int = 0
    latency_s: float = 0.0  # virtual time: the fixed latency of a plan
    created_utc: str = ""
    trials: list[TrialOutcome]
    training_starts: list[dict[str, float]] = []  # what trials kept their distance from
    plan_statistics: list[PlanStatistics] = []  # one for each process that ran trials
    timing: list[Timing] = []

    @property
    def successes(self) -> int:
        """Number of trials that succeeded."""
        return sum(trial.outcome == "success" for trial in self.trials)

    @property
    def judged(self) -> int:
        """Number of trials whose outcome is known."""
        return sum(trial.outcome != "unmarked" for trial in self.trials)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval of the success rate among the judged trials, 95 %."""
        return wilson_interval(self.successes, self.judged)

    @property
    def sentence(self) -> str:
        """Say the result as a person would quote it."""
        low, high = self.interval
        count = self.judged
        percent = 100.0 * self.successes / count if count else 0.0
        bounds = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
        return f"{self.successes} of {count} ({percent:.0f} %, {bounds})"


def save_result(result: EvaluationResult, path: Path) -> None:
    """Write a result, whole or not at all; raises StorageFull, ConfigError."""
    write_whole(
        path,
        msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n",
        name=f"the result {path}",
        elsewhere="name another place with --output",
    )


def load_result(path: Path) -> EvaluationResult:
    """Read a result.

    Raises:
        UnsupportedSchema: written by a newer version.
        ConfigError: missing, or not a result file.
    """
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
        if schema > SCHEMA:
            raise UnsupportedSchema(
                f"{path} has schema {schema}, this version reads up to {SCHEMA}; update so101"
            )
        return msgspec.json.decode(data, type=EvaluationResult)
    except OSError as error:
        raise ConfigError(
            f"cannot read the result {path}: {error.strerror}; run so101 evaluate first"
        ) from error
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is not a result of so101 evaluate: {error}; evaluate again"
        ) from error


class _SchemaOnly(msgspec.Struct):
    schema: int
