"""The control process's log: written by a thread of its own, so that no disk can stop a tick."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from robot.run_folder import LogValue, RunLog

LINES_KEPT = 512  # while the disk stands still; older ones go, which their numbers show
WRITE_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    time_s: float
    values: dict[str, LogValue] = field(default_factory=dict[str, LogValue])


class ControlLog:
    """A bounded queue before a `RunLog`; `close` writes what is left, within a second."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._lines: deque[_Line] = deque(maxlen=LINES_KEPT)
        self._noted = 0  # numbers the lines: one that is missing was overtaken
        self._is_closing = threading.Event()
        self._writer = threading.Thread(target=self._write, name="control-log", daemon=True)
        self._writer.start()

    def event(self, name: str, time_s: float, **values: LogValue) -> None:
        """Note an event of `time_s`; never waits."""
        self._noted += 1
        self._lines.append(_Line(name, time_s, {"number": self._noted, **values}))

    def close(self) -> None:
        """Write what is left and close; may be called twice."""
        self._is_closing.set()
        self._writer.join(1.0)

    def _write(self) -> None:
        while True:
            is_closing = self._is_closing.wait(WRITE_EVERY_S)
            while self._lines:
                line = self._lines.popleft()
                happened = datetime.now(UTC) - timedelta(seconds=time.monotonic() - line.time_s)
                self._log.event(
                    line.name,
                    **line.values,
                    monotonic_s=line.time_s,
                    utc=happened.isoformat(timespec="milliseconds"),
                )
            if is_closing:
                self._log.close()
                return
