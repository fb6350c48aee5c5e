"""The servo's side of the Feetech half-duplex protocol: requests in, status packets out.

A frame is `FF FF ID LEN INSTRUCTION PARAMETERS... CHECKSUM` with LEN = number of parameters + 2 and
the checksum such that all bytes from ID on add up to 0xFF (mod 256). `FF FF` may occur inside the
parameters, so the parser goes by length once it is in step, and hunts for the header only when it
is not. There is no negative acknowledgement: what a servo does not understand, it meets with
silence. Source: Feetech protocol manual; see docs/provenance.md.
"""

from dataclasses import dataclass
from enum import IntEnum

HEADER = b"\xff\xff"
MAX_PACKET_BYTES = 250  # the SDK's limit, both ways
# A frame whose rest never comes is forgotten after this silence [not documented; longer than any
# host's gap inside one write, shorter than LeRobot's 50 ms reply timeout].
PARTIAL_TIMEOUT_S = 0.02


class Instruction(IntEnum):
    """What firmware 3.10 answers; it ignores REBOOT (08), RESET (0A) and CAL (0B)."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    RECOVERY = 0x06
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


@dataclass(frozen=True, slots=True)
class Request:
    """One intact frame from the host; the instruction may be unknown."""

    id: int
    instruction: int
    parameters: bytes

    @property
    def data(self) -> bytes:
        """The frame as it was on the wire."""
        body = bytes((self.id, len(self.parameters) + 2, self.instruction)) + self.parameters
        return HEADER + body + bytes((checksum(body),))


def checksum(body: bytes) -> int:
    """Return the checksum byte of the bytes from ID to the last parameter."""
    return ~sum(body) & 0xFF


def encode_status(servo_id: int, error: int, data: bytes = b"") -> bytes:
    """Encode a status packet: the servo's id, its error byte, and the data asked for."""
    body = bytes((servo_id, len(data) + 2, error)) + data
    return HEADER + body + bytes((checksum(body),))


class RequestParser:
    """Cut a byte stream into requests, whatever the chunks and the garbage between them."""

    def __init__(self) -> None:
        self._pending = b""
        self._last_s = float("-inf")

    def feed(self, chunk: bytes, now_s: float) -> list[Request]:
        """Take the next bytes of the wire; return the requests that they complete, in order."""
        if now_s - self._last_s > PARTIAL_TIMEOUT_S:
            self._pending = b""
        self._last_s = now_s
        data = self._pending + chunk
        requests: list[Request] = []
        start = 0
        while True:
            start = data.find(HEADER, start)
            if start < 0:
                # A lone FF at the end may be the first half of a header.
                self._pending = data[-1:] if data.endswith(b"\xff") else b""
                return requests
            if len(data) - start < 4:
                break
            servo_id, length = data[start + 2], data[start + 3]
            if servo_id == 0xFF or not 2 <= length <= MAX_PACKET_BYTES - 4:
                start += 1
                continue
            end = start + length + 4
            if len(data) < end:
                break
            if sum(data[start + 2 : end]) & 0xFF == 0xFF:
                requests.append(Request(servo_id, data[start + 4], data[start + 5 : end - 1]))
                start = end
            else:
                # Not past the frame: the next one may begin inside what this one claimed.
                start += 1
        self._pending = data[start:]
        return requests
