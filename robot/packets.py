"""Frames of the loop's transactions, computed once, and what their replies mean.

A block read is a SYNC_READ whose replies come in the order of the list, each of the same length, so
that an undisturbed answer is cut at a fixed stride. A disturbed one is searched by length and
checksum. A status packet names neither its request nor its register: the only thing in it that a
request decides is its length, so that each block read exists in several lengths (`BlockRead.sized`)
and the bus asks for one that no missing reply can have. Facts of the protocol: docs/provenance.md.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from robot.registers import BROADCAST_ID, Register, encode_sign_magnitude

BYTE_S = 10e-6  # 8N1 at 1 Mbps: ten bit times a byte
LONGEST_RETURN_DELAY_S = 254 * 2e-6  # register 7 at its largest
TURNAROUND_S = 100e-6  # a servo's own, beyond its return delay [10..100 us is plausible]
# Lengths of one block read: how many unanswered requests can be told apart from the next one.
SIZES = 16
# USB and scheduler, beyond wire time, in the loop: after the first, what has come is looked at (a
# servo that is mute costs this much); until the second, the rest is waited for, but not so long
# that a tick takes longer than its period. A reply that comes later is told by its length.
BLOCK_PATIENCE_S = 0.0015
BLOCK_MARGIN_S = 0.005
_MARGIN_OF_PERIOD = 1 / 3

WRITE = 0x03
READ = 0x02
_SYNC_READ = 0x82
_SYNC_WRITE = 0x83
OVERHEAD_BYTES = 6  # FF FF id len error ... checksum


def block_margin_s(period_s: float) -> float:
    """Return how long beyond wire time a loop of this period waits for replies."""
    return min(max(_MARGIN_OF_PERIOD * period_s, BLOCK_PATIENCE_S), BLOCK_MARGIN_S)


def frame(servo_id: int, instruction: int, parameters: bytes) -> bytes:
    """Build an instruction packet: FF FF id len instruction parameters checksum."""
    body = bytes((servo_id, len(parameters) + 2, instruction)) + parameters
    return b"\xff\xff" + body + bytes((~sum(body) & 0xFF,))


class SyncWrite:
    """One register of several servos in one packet; nothing answers."""

    def __init__(self, register: Register, ids: Sequence[int]) -> None:
        self.ids = tuple(ids)
        self._sign_bit = register.sign_bit
        self._value = struct.Struct("<B" if register.size == 1 else "<H")
        stride = 1 + register.size
        parameters = bytes((register.address, register.size))
        parameters += b"".join(bytes((servo_id,)) + bytes(register.size) for servo_id in self.ids)
        self._frame = bytearray(frame(BROADCAST_ID, _SYNC_WRITE, parameters))
        self._places = [8 + index * stride for index in range(len(self.ids))]

    def fill(self, values: Sequence[int]) -> bytes:
        """Return the packet with one value a servo, in the order of `ids`."""
        packet, sign_bit = self._frame, self._sign_bit
        for place, value in zip(self._places, values, strict=True):
            encoded = value if sign_bit is None else encode_sign_magnitude(value, sign_bit)
            self._value.pack_into(packet, place, encoded)
        packet[-1] = ~sum(packet[2:-1]) & 0xFF
        return bytes(packet)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a run of received bytes says."""

    data: dict[int, bytes]  # by servo id, of those whose reply was whole
    status: dict[int, int]  # error byte of the same
    is_exact: bool  # every byte was where it should be
    corrupt: tuple[int, ...] = ()  # ids in whose place something else came


class SizedRead:
    """A block read of one length: its request, its deadlines, and the meaning of its replies."""

    def __init__(
        self,
        register: Register,
        ids: tuple[int, ...],
        extra: int,
        return_delays_s: float,
        chain: tuple[int, ...],
    ) -> None:
        self.ids = ids
        self.size = register.size + extra  # bytes of data asked for
        self._wanted = register.size
        parameters = bytes((register.address, self.size, *ids))
        self.request = frame(BROADCAST_ID, _SYNC_READ, parameters)
        self.stride = OVERHEAD_BYTES + self.size
        self.reply_bytes = self.stride * len(ids)
        self.wire_s = (len(self.request) + self.reply_bytes) * BYTE_S
        self.longest_s = self.wire_s + len(ids) * TURNAROUND_S + return_delays_s
        self._beginnings = {b"\xff\xff" + bytes((servo_id,)) for servo_id in chain}
        self._prefixes = [b"\xff\xff" + bytes((servo_id, self.size + 2)) for servo_id in ids]

    def decode(self, received: bytes) -> Decoded:
        """Return data and error byte of each servo whose reply is whole."""
        data: dict[int, bytes] = {}
        status: dict[int, int] = {}
        stride, end = self.stride, 5 + self._wanted
        if len(received) == self.reply_bytes:
            start = 0
            for servo_id, prefix in zip(self.ids, self._prefixes, strict=True):
                packet = received[start : start + stride]
                if packet[:4] != prefix or sum(packet[2:]) & 0xFF != 0xFF:
                    break
                data[servo_id] = packet[5:end]
                status[servo_id] = packet[4]
                start += stride
            else:
                return Decoded(data, status, True)
        return self._resync(received)

    def still_due(self, received: bytes) -> int:
        """Return how many bytes must follow for the chain to be complete, 0 when it has passed.

        Judged from the last reply that has come or begun: the servos after it have not spoken yet.
        """
        for index in range(len(self.ids) - 1, -1, -1):
            start = received.rfind(self._prefixes[index])
            if start >= 0:
                due = start + (len(self.ids) - index) * self.stride - len(received)
                return max(0, due)
        return max(self.stride, self.reply_bytes - len(received))

    def _resync(self, received: bytes) -> Decoded:
        """Find each whole reply among disturbed bytes.

        The checksum is one byte: a reply that lost or gained bytes can satisfy it over the wrong
        ones, with the beginning of the next reply for its end, or with a byte left over. So a
        packet is believed only if what follows fits. The search runs backwards, from what is sure.
        """
        found: list[tuple[int, int]] = []  # (start, index in the chain), from the last to the first
        next_start, next_index = len(received), len(self.ids)
        for start, index in sorted(self._candidates(received), reverse=True):
            end = start + self.stride
            # Where the next one sure to be whole is just where it belongs, none lost or gained any.
            is_in_place = next_start - start == (next_index - index) * self.stride
            if end <= next_start and (is_in_place or self._is_followed(received, end, index)):
                found.append((start, index))
                next_start, next_index = start, index
        found.reverse()
        return self._sort_out(received, found)

    def _is_followed(self, received: bytes, end: int, index: int) -> bool:
        """Tell whether behind a servo's reply comes nothing, or a reply, of any length."""
        rest = received[end : end + self.stride // 2 + 3]
        if len(rest) < 3:
            # Cut by the deadline: behind the last servo of the chain a byte would be one too many.
            return not rest or (index < len(self.ids) - 1 and b"\xff\xff".startswith(rest))
        header = 2 if rest[:2] == b"\xff\xff" and rest[2] == 0xFF else 0  # nothing else of one came
        if rest[header : header + 3] in self._beginnings:
            return True
        # Or one that lost its header: no other header is so near that bytes could be left over,
        # and this reply has none at its end that could be the missing one.
        packet = received[end - self.stride : end]
        return (
            len(rest) > self.stride // 2
            and b"\xff\xff" not in rest[1:]
            and b"\xff\xff" not in packet[4:]
            and packet[-1] != 0xFF
        )

    def _candidates(self, received: bytes) -> list[tuple[int, int]]:
        candidates: list[tuple[int, int]] = []
        for index, prefix in enumerate(self._prefixes):
            start = received.find(prefix)
            while start >= 0:
                packet = received[start : start + self.stride]
                if len(packet) == self.stride and sum(packet[2:]) & 0xFF == 0xFF:
                    candidates.append((start, index))
                start = received.find(prefix, start + 1)
        return candidates

    def _sort_out(self, received: bytes, found: list[tuple[int, int]]) -> Decoded:
        """Tell whole, corrupt and missing replies apart, by the bytes between the whole ones."""
        data: dict[int, bytes] = {}
        status: dict[int, int] = {}
        corrupt: list[int] = []
        twice: set[int] = set()
        previous, at = -1, 0
        ends = [*found, (len(received), len(self.ids))]
        for start, index in ends:
            absent = range(previous + 1, index)
            disturbed = -(-(start - at) // self.stride)  # as many as the bytes in between may be
            corrupt.extend(self.ids[i] for i in absent[:disturbed])
            if index < len(self.ids):
                servo_id, packet = self.ids[index], received[start : start + self.stride]
                if servo_id in data and data[servo_id] != packet[5 : 5 + self._wanted]:
                    twice.add(servo_id)  # two servos of one id: neither is believed
                data[servo_id] = packet[5 : 5 + self._wanted]
                status[servo_id] = packet[4]
                previous, at = max(previous, index), start + self.stride
        for servo_id in twice:
            del data[servo_id], status[servo_id]
        lost = (*twice, *(servo_id for servo_id in corrupt if servo_id not in data))
        return Decoded(data, status, False, tuple(dict.fromkeys(lost)))


class BlockRead:
    """A sync-read whose requests and whose expected replies are computed once."""

    def __init__(
        self,
        register: Register,
        ids: Sequence[int],
        *,
        return_delays_s: float | None = None,
    ) -> None:
        """Prepare a read of one register, or of several that follow each other.

        Args:
            register: where the block begins, and its size in bytes.
            ids: servos, in the order in which they answer.
            return_delays_s: sum of the servos' return delays; without it, the longest there are.
        """
        self.ids = tuple(ids)
        self._register = register
        self._some: dict[tuple[int, ...], tuple[SizedRead, ...]] = {}
        if return_delays_s is None:
            return_delays_s = len(self.ids) * LONGEST_RETURN_DELAY_S
        self._return_delays_s = return_delays_s
        self.sized = self.of(self.ids)
        self.request = self.sized[0].request  # as it is while no reply is owed
        self.reply_bytes = self.sized[0].reply_bytes

    def of(self, ids: tuple[int, ...]) -> tuple[SizedRead, ...]:
        """Return the read of some of the servos, in every length, shortest first."""
        sized = self._some.get(ids)
        if sized is None:
            register, delays_s = self._register, self._return_delays_s
            sized = self._some[ids] = tuple(
                SizedRead(register, ids, extra, delays_s, self.ids) for extra in range(SIZES)
            )
        return sized


def valid_packets(received: bytes) -> list[tuple[int, int]]:
    """Return servo id and bytes of data of each whole status packet among received bytes."""
    packets: list[tuple[int, int]] = []
    start = received.find(b"\xff\xff")
    while start >= 0:
        end = start + 4 + received[start + 3] if start + 3 < len(received) else len(received) + 1
        is_whole = end <= len(received) and end - start >= OVERHEAD_BYTES
        is_whole = is_whole and received[start + 2] < BROADCAST_ID  # else a request, echoed
        if is_whole and sum(received[start + 2 : end]) & 0xFF == 0xFF:
            packets.append((received[start + 2], received[start + 3] - 2))
            start = received.find(b"\xff\xff", end)
        else:
            start = received.find(b"\xff\xff", start + 1)
    return packets
