"""What went wrong on a bus: counters per servo, replies still owed, strangers on the wire."""

import math
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from robot.clock import Clock
from robot.packets import OVERHEAD_BYTES, BlockRead, SizedRead, valid_packets

# How long a missing reply may still come. Seen to be late: 70 ms (a hiccup of host and adapter);
# this is longer than a servo may be silent at all before a drive ends (0.5 s).
OWED_S = 0.7
# A servo that has missed so many block reads in a row is asked only so often: then it never owes
# every length (6 + 0.7 / 0.08 are fewer than `packets.SIZES`), and is believed as soon as it is
# back. Meanwhile the ticks in between do not wait for it.
SILENT_READS = 6
ASK_AGAIN_S = 0.08
# So many transactions with packets of others, in so long, are no accident.
SHARED_COUNT = 10
SHARED_WINDOW_S = 1.0

type Owed = tuple[int, int]  # servo id and bytes of data of a reply


@dataclass
class BusCounters:
    """What went wrong on a bus so far; per servo id where a servo is to be blamed."""

    timeouts: dict[int, int] = field(default_factory=dict[int, int])  # no reply
    corrupt: dict[int, int] = field(default_factory=dict[int, int])  # a reply that is none
    resyncs: int = 0  # block reads whose bytes were not where they should be
    late_bytes: int = 0  # of replies that came after their deadline
    unasked_bytes: int = 0  # that nobody here asked for

    def note_timeout(self, servo_id: int) -> None:
        """Count one missing reply."""
        self.timeouts[servo_id] = self.timeouts.get(servo_id, 0) + 1

    def note_corrupt(self, servo_id: int) -> None:
        """Count one damaged reply."""
        self.corrupt[servo_id] = self.corrupt.get(servo_id, 0) + 1


class Strangers:
    """Whether somebody else talks on this bus: whole packets that nobody here asked for."""

    def __init__(self) -> None:
        self._seen_s: deque[float] = deque(maxlen=SHARED_COUNT)

    def note(self, now_s: float) -> None:
        """Count one transaction with a foreign packet."""
        self._seen_s.append(now_s)

    @property
    def are_sure(self) -> bool:
        """Whether there were so many in so short a time that it is no accident."""
        seen_s = self._seen_s
        return len(seen_s) == SHARED_COUNT and seen_s[-1] - seen_s[0] <= SHARED_WINDOW_S


class OwedReplies:
    """Replies that did not come in time, so that no later one is taken for the answer to another.

    A status packet names its servo and its length, nothing else. While a reply is owed, the next
    request to its servo asks for some bytes more: what then comes in the old length is the old one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s: dict[Owed, float] = {}
        self._silent: dict[int, tuple[int, float]] = {}  # reads missed in a row, and the last one

    def owe(self, servo_id: int, size: int) -> None:
        """Remember a reply of `size` bytes of data that may still come."""
        self._until_s[servo_id, size] = self._clock.now_s() + OWED_S

    def note_silent(self, servo_id: int) -> None:
        """Count one block read that a servo did not answer."""
        count, _ = self._silent.get(servo_id, (0, 0.0))
        self._silent[servo_id] = count + 1, self._clock.now_s()

    def note_heard(self, servo_ids: Iterable[int]) -> None:
        """Forget the silence of servos that answered."""
        if self._silent:
            for servo_id in servo_ids:
                self._silent.pop(servo_id, None)

    def worth_asking(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return these servos but those that have been mute, and were asked a moment ago."""
        if not self._silent:
            return ids
        since_s = self._clock.now_s() - ASK_AGAIN_S
        resting = {
            servo_id
            for servo_id, (count, last_s) in self._silent.items()
            if count >= SILENT_READS and last_s > since_s
        }
        return tuple(servo_id for servo_id in ids if servo_id not in resting)

    def free_read(self, block: BlockRead, ids: tuple[int, ...]) -> SizedRead:
        """Return the shortest form of a block read of these servos that no late reply can pass for.

        Where every length is owed (many replies get lost, at a high rate), the one that has been
        for longest: then `doubtful` names the servos that are not to be believed.
        """
        sizes = block.of(ids)
        if not self._until_s:
            return sizes[0]
        self._forget_old()
        return min(sizes, key=lambda sized: self._owed_until_s(ids, sized.size))

    def _owed_until_s(self, ids: Iterable[int], size: int) -> float:
        return max(self._until_s.get((servo_id, size), -math.inf) for servo_id in ids)

    def doubtful(self, sized: SizedRead) -> list[int]:
        """Return the servos whose reply to this read could be one to an earlier read."""
        if not self._until_s:
            return []
        return [servo_id for servo_id in sized.ids if (servo_id, sized.size) in self._until_s]

    def free_size(self, servo_id: int, size: int) -> int:
        """Return how many bytes to ask a servo for instead of `size`, so that a reply is new.

        Never two: the echo of a READ has the length of a reply with two bytes.
        """
        self._forget_old()
        asked = size
        while asked == 2 or (servo_id, asked) in self._until_s:
            asked += 1
        return asked

    def sort_out(self, found: bytes) -> tuple[int, bool]:
        """Return how many bytes found between transactions are late, and whether others spoke.

        What is no whole packet is taken for a piece of a late one, as long as any is owed; what a
        servo that owes a reply sent is its own, whatever length it has.
        """
        self._forget_old()
        owing = {servo_id for servo_id, _ in self._until_s}
        if not owing:
            return 0, bool(valid_packets(found))
        foreign = [(i, size) for i, size in valid_packets(found) if i not in owing]
        return len(found) - sum(OVERHEAD_BYTES + size for _, size in foreign), bool(foreign)

    def has_foreign(self, received: bytes, size: int, answered: Container[int]) -> bool:
        """Tell whether servos that answered with `size` bytes seem to have spoken otherwise too."""
        return any(
            packet[0] in answered and packet[1] != size and packet not in self._until_s
            for packet in valid_packets(received)
        )

    def _forget_old(self) -> None:
        if self._until_s:
            now_s = self._clock.now_s()
            self._until_s = {
                owed: until_s for owed, until_s in self._until_s.items() if until_s > now_s
            }
