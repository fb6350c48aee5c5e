"""What the plan timing of rollouts was like: counts and percentiles over any of them."""

from collections import deque

import msgspec

from deploy.statistics import Percentiles, percentiles

VALUES_KEPT = 200_000  # 33 minutes at 100 Hz


class PlanStatistics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the plan timing was like; times in milliseconds."""

    ticks: int
    plans: int
    switches: int
    dropped_plans: int  # of a generation no longer wanted
    starved_ticks: int  # held because the plan had run out
    stale_image_ticks: int  # a plan was due, but a picture was too old to start it
    observation_to_plan_ms: Percentiles | None
    inference_ms: Percentiles | None
    plan_age_ms: Percentiles | None  # age of the observation behind each goal
    image_age_ms: Percentiles | None  # at observation
    switch_residual_deg: Percentiles | None  # largest arm joint difference at each switch


class PlanLog:
    """Collects what `PlanGoals` sees; one for a command or a process."""

    def __init__(self) -> None:
        self.ticks = 0
        self.plans = 0
        self.switches = 0
        self.dropped_plans = 0
        self.starved_ticks = 0
        self.stale_image_ticks = 0
        self.observation_to_plan_s: deque[float] = deque(maxlen=VALUES_KEPT)
        self.inference_s: deque[float] = deque(maxlen=VALUES_KEPT)
        self.plan_age_s: deque[float] = deque(maxlen=VALUES_KEPT)
        self.image_age_s: deque[float] = deque(maxlen=VALUES_KEPT)
        self.switch_residual_deg: deque[float] = deque(maxlen=VALUES_KEPT)

    def statistics(self) -> PlanStatistics:
        """Return the figures so far."""
        return PlanStatistics(
            ticks=self.ticks,
            plans=self.plans,
            switches=self.switches,
            dropped_plans=self.dropped_plans,
            starved_ticks=self.starved_ticks,
            stale_image_ticks=self.stale_image_ticks,
            observation_to_plan_ms=_milliseconds(self.observation_to_plan_s),
            inference_ms=_milliseconds(self.inference_s),
            plan_age_ms=_milliseconds(self.plan_age_s),
            image_age_ms=_milliseconds(self.image_age_s),
            switch_residual_deg=percentiles(self.switch_residual_deg),
        )


def _milliseconds(values_s: deque[float]) -> Percentiles | None:
    return percentiles([value_s * 1e3 for value_s in values_s])
