"""A program: the control process with a goal source that takes all memory.

After a while of driving the source hoards until not even 64 bytes are left of what the process may
have (RLIMIT_AS), and keeps it: whatever the process does next, it does without memory.
"""

import resource
import sys
from pathlib import Path

from robot.joint_sample import JointSample
from robot.loop import Goal
from scripts.control_host import main
from teleop.leader import LeaderGoals

DRIVE_TICKS = 50
ROOM_BYTES = 50_000_000
hoard: list[object] = []
turns: list[None] = []
follow = LeaderGoals.goal


def take_all(self: LeaderGoals, observed: JointSample, now_s: float) -> Goal:
    """Drive for a while, then hoard; raises MemoryError then."""
    turns.append(None)
    if len(turns) == DRIVE_TICKS:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        size = ROOM_BYTES
        while size >= 64:
            try:
                hoard.append(bytes(size))
            except MemoryError:
                size //= 2
        raise MemoryError
    return follow(self, observed, now_s)


if __name__ == "__main__":
    LeaderGoals.goal = take_all  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
