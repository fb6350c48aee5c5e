"""The servo's side of the protocol, against the SDK's own encoder and decoder."""

import pytest
import scservo_sdk
from hypothesis import given
from hypothesis import strategies as st

from sim.protocol import (
    PARTIAL_TIMEOUT_S,
    Instruction,
    Request,
    RequestParser,
    checksum,
    encode_status,
)

PING_1 = bytes.fromhex("ff ff 01 02 01 fb")
READ_1 = bytes.fromhex("ff ff 01 04 02 38 02 be")
SYNC_READ = bytes.fromhex("ff ff fe 0a 82 38 02 01 02 03 04 05 06 26")

requests = st.builds(
    Request,
    st.integers(0, 254),
    st.sampled_from(list(Instruction)),
    st.binary(max_size=60),
)


def encode(request: Request) -> bytes:
    body = bytes((request.id, len(request.parameters) + 2, request.instruction))
    body += request.parameters
    return b"\xff\xff" + body + bytes((checksum(body),))


class SdkPort:
    """What the SDK's packet handler needs of a port: keeps what it sends, feeds it `incoming`."""

    is_using = False
    baudrate = 1_000_000

    def __init__(self, incoming: bytes = b"") -> None:
        self.sent = b""
        self._incoming = incoming

    def clearPort(self) -> None: ...  # noqa: N802

    def writePort(self, packet: list[int]) -> int:  # noqa: N802
        self.sent += bytes(packet)
        return len(packet)

    def readPort(self, length: int) -> bytes:  # noqa: N802
        taken, self._incoming = self._incoming[:length], self._incoming[length:]
        return taken

    def setPacketTimeout(self, length: int) -> None: ...  # noqa: N802

    def isPacketTimeout(self) -> bool:  # noqa: N802
        return not self._incoming


def test_parses_the_frames_captured_from_lerobot() -> None:
    parsed = RequestParser().feed(PING_1 + READ_1 + SYNC_READ, 0.0)

    assert parsed == [
        Request(1, Instruction.PING, b""),
        Request(1, Instruction.READ, b"\x38\x02"),
        Request(0xFE, Instruction.SYNC_READ, bytes((56, 2, 1, 2, 3, 4, 5, 6))),
    ]


@pytest.mark.parametrize("servo_id", [0, 1, 6, 252])
def test_parses_what_the_sdk_encodes(servo_id: int) -> None:
    port, handler = SdkPort(), scservo_sdk.PacketHandler(0)
    handler.writeTxOnly(port, servo_id, 42, 2, [0xFF, 0xFF])
    port.is_using = False
    handler.regWriteTxOnly(port, servo_id, 41, 3, [254, 0, 8])
    port.is_using = False
    handler.action(port, 0xFE)
    port.is_using = False
    handler.syncWriteTxOnly(port, 42, 2, [1, 0xFF, 0xFF, 2, 0x00, 0x08], 6)
    port.is_using = False
    handler.readTx(port, servo_id, 56, 15)
    port.is_using = False

    assert RequestParser().feed(port.sent, 0.0) == [
        Request(servo_id, Instruction.WRITE, b"\x2a\xff\xff"),
        Request(servo_id, Instruction.REG_WRITE, b"\x29\xfe\x00\x08"),
        Request(0xFE, Instruction.ACTION, b""),
        Request(0xFE, Instruction.SYNC_WRITE, b"\x2a\x02\x01\xff\xff\x02\x00\x08"),
        Request(servo_id, Instruction.READ, b"\x38\x0f"),
    ]


@given(st.integers(0, 252), st.integers(0, 0x7F), st.binary(max_size=60))
def test_the_sdk_decodes_every_status_packet(servo_id: int, error: int, data: bytes) -> None:
    port = SdkPort(encode_status(servo_id, error, data))

    packet, result = scservo_sdk.PacketHandler(0).rxPacket(port)

    assert result == scservo_sdk.COMM_SUCCESS
    assert bytes(packet) == encode_status(servo_id, error, data)


@given(st.lists(requests, max_size=5), st.integers(1, 9))
def test_chunks_of_any_size_give_the_same_requests(sent: list[Request], size: int) -> None:
    stream = b"".join(encode(request) for request in sent)
    parser = RequestParser()

    parsed = [
        request
        for at in range(0, len(stream), size)
        for request in parser.feed(stream[at : at + size], 0.0)
    ]

    assert parsed == sent


# Garbage that holds no header cannot swallow what follows.
quiet_garbage = st.binary(max_size=20).map(lambda noise: noise.replace(b"\xff", b"\xfe"))


@given(quiet_garbage, requests, quiet_garbage, requests)
def test_garbage_between_frames_is_skipped(
    before: bytes, first: Request, between: bytes, second: Request
) -> None:
    stream = before + encode(first) + between + encode(second)

    assert RequestParser().feed(stream, 0.0) == [first, second]


@given(st.binary(max_size=60), requests)
def test_after_any_garbage_and_a_pause_a_frame_is_heard(garbage: bytes, sent: Request) -> None:
    parser = RequestParser()
    parser.feed(garbage, 0.0)

    assert parser.feed(encode(sent), 2 * PARTIAL_TIMEOUT_S) == [sent]


def test_a_stump_that_claims_a_long_frame_is_forgotten_after_a_pause() -> None:
    parser = RequestParser()
    parser.feed(bytes.fromhex("ff ff 01 f0 03"), 0.0)
    assert parser.feed(PING_1, PARTIAL_TIMEOUT_S / 2) == []

    assert parser.feed(PING_1, 2 * PARTIAL_TIMEOUT_S) == [Request(1, Instruction.PING, b"")]


@given(st.data())
def test_a_flipped_bit_inside_a_frame_costs_that_frame_alone(data: st.DataObject) -> None:
    damaged = bytearray(READ_1)
    at = data.draw(st.integers(4, len(damaged) - 1))
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))

    parsed = RequestParser().feed(bytes(damaged) + PING_1 + SYNC_READ, 0.0)

    assert parsed == [
        Request(1, Instruction.PING, b""),
        Request(0xFE, Instruction.SYNC_READ, SYNC_READ[5:-1]),
    ]


@given(st.integers(1, len(SYNC_READ) - 1))
def test_a_truncated_frame_gives_nothing_and_does_not_swallow_later_ones(kept: int) -> None:
    parser = RequestParser()

    assert parser.feed(SYNC_READ[:kept], 0.0) == []
    # What the stump still claims of the next frames is given back when its checksum fails.
    heard = parser.feed(READ_1 + PING_1 + PING_1, 0.001)
    assert heard[-2:] == [Request(1, Instruction.PING, b"")] * 2


@given(st.binary(max_size=400))
def test_no_noise_makes_the_parser_fail_or_hoard(noise: bytes) -> None:
    parser = RequestParser()
    parser.feed(noise, 0.0)

    assert len(parser._pending) <= 250


def test_a_run_of_three_ff_skips_one_byte() -> None:
    assert RequestParser().feed(b"\xff" + PING_1, 0.0) == [Request(1, Instruction.PING, b"")]
