"""What the rules of `health_rules` remember from tick to tick: grades and trips.

All take the time passed since the last call; none looks at a clock.
"""

from robot import health_rules as rules
from robot.health_rules import Response


class Lasting:
    """How long something has been so without a break, seconds."""

    __slots__ = ("held_s",)

    def __init__(self) -> None:
        self.held_s = 0.0

    def update(self, is_so: bool, passed_s: float) -> float:
        """Count on, or start over; return the time so far."""
        self.held_s = self.held_s + passed_s if is_so else 0.0
        return self.held_s


class Grade:
    """A response that grows worse only when that has been asked for `dwell_s` without a break."""

    __slots__ = ("_dwell_s", "_mildest", "_worse_s", "response")

    def __init__(self, dwell_s: float) -> None:
        self._dwell_s = dwell_s
        self.response: Response
        self._mildest: Response
        self._settle(Response.GO)

    def update(self, wanted: Response, passed_s: float) -> Response:
        """Take note of what the newest sample asks for; return what is to be done."""
        if wanted <= self.response:
            self._settle(wanted)
        else:
            self._worse_s += passed_s
            self._mildest = min(self._mildest, wanted)
            if self._worse_s >= self._dwell_s:
                self._settle(self._mildest)
        return self.response

    def _settle(self, response: Response) -> None:
        self.response = response
        self._worse_s = 0.0
        self._mildest = Response.STOP


class Trips:
    """How often one of a servo's protections tripped lately; a goal clears the bit."""

    __slots__ = ("_ages_s", "_set_s")

    def __init__(self) -> None:
        self._ages_s: list[float] = []  # of the trips within the window, oldest first
        self._set_s: float | None = None  # how long the bit has been set

    def update(self, is_set: bool, passed_s: float) -> Response:
        """Take note of the bit; return what is to be done."""
        if not (is_set or self._ages_s):
            return Response.GO
        self._ages_s = [
            age_s + passed_s for age_s in self._ages_s if age_s + passed_s <= rules.TRIP_WINDOW_S
        ]
        if not is_set:
            self._set_s = None
        elif self._set_s is None:
            self._set_s = 0.0
            self._ages_s.append(0.0)
        else:
            self._set_s += passed_s
        is_latched = self._set_s is not None and self._set_s > rules.LATCHED_S
        if is_latched or len(self._ages_s) >= rules.TRIPS_TO_STOP:
            return Response.STOP
        is_recent = is_set or (self._ages_s and self._ages_s[-1] <= rules.TRIP_SHOWN_S)
        return Response.DERATE if is_recent else Response.GO
