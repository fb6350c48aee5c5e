"""The bytes of block reads: round trips, every kind of damage, and what it may cost at most."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from robot.joints import SERVO_IDS
from robot.packets import SIZES, BlockRead, SizedRead, SyncWrite, frame
from robot.registers import GOAL_POSITION, PRESENT_POSITION, STATE_BLOCK, TORQUE_LIMIT

POSITIONS = BlockRead(PRESENT_POSITION, SERVO_IDS).sized[0]
STATES = BlockRead(STATE_BLOCK, SERVO_IDS).sized[0]
BLOCKS = [pytest.param(POSITIONS, id="positions"), pytest.param(STATES, id="states")]


def replies(sized: SizedRead, payloads: list[bytes], error: int = 0) -> list[bytes]:
    """Build the status packets that six servos answer, by the protocol's own rule."""
    return [frame(i, error, payload) for i, payload in zip(sized.ids, payloads, strict=True)]


def payloads_of(size: int) -> st.SearchStrategy[list[bytes]]:
    return st.lists(st.binary(min_size=size, max_size=size), min_size=6, max_size=6)


sized_and_payloads = st.sampled_from([POSITIONS, STATES]).flatmap(
    lambda sized: st.tuples(st.just(sized), payloads_of(sized.size))
)


@given(payloads_of(15), st.integers(0, 0x7F))
def test_a_block_round_trips_with_every_error_byte(payloads: list[bytes], error: int) -> None:
    decoded = STATES.decode(b"".join(replies(STATES, payloads, error)))

    assert decoded.is_exact
    assert list(decoded.data.values()) == payloads
    assert set(decoded.status.values()) == {error}


@given(st.integers(0, SIZES - 1), payloads_of(15))
def test_a_longer_read_gives_the_bytes_that_were_wanted(extra: int, payloads: list[bytes]) -> None:
    sized = BlockRead(STATE_BLOCK, SERVO_IDS).sized[extra]
    longer = [payload + bytes(range(extra)) for payload in payloads]

    decoded = sized.decode(b"".join(replies(sized, longer)))

    assert decoded.is_exact
    assert list(decoded.data.values()) == payloads


@given(payloads_of(15), st.integers(1, SIZES - 1))
def test_replies_of_another_length_are_never_taken(payloads: list[bytes], extra: int) -> None:
    sized = BlockRead(STATE_BLOCK, SERVO_IDS).sized[extra]

    assert sized.decode(b"".join(replies(STATES, payloads))).data == {}


def check(
    sized: SizedRead,
    payloads: list[bytes],
    victim: int,
    received: bytes,
    *,
    is_gone: bool = True,
    has_rest: bool = False,
) -> None:
    """Hold the rule: no value that was not sent, and no intact reply behind the damage is lost."""
    decoded = sized.decode(received)
    assert not decoded.is_exact
    for servo_id, data in decoded.data.items():
        assert data == payloads[servo_id - 1]
    # What is left of a reply, or begins unlike one, may have been put into the one before it.
    assert set(decoded.data) >= set(SERVO_IDS) - {victim + 1} - ({victim} if has_rest else set())
    if is_gone:
        assert victim + 1 not in decoded.data


@given(sized_and_payloads, st.integers(0, 5), st.data())
def test_one_changed_byte_costs_one_servo_and_no_other(
    drawn: tuple[SizedRead, list[bytes]], victim: int, data: st.DataObject
) -> None:
    sized, payloads = drawn
    packets = replies(sized, payloads)
    at = data.draw(st.integers(0, sized.stride - 1))
    broken = bytearray(packets[victim])
    broken[at] ^= data.draw(st.integers(1, 255))
    packets[victim] = bytes(broken)

    check(sized, payloads, victim, b"".join(packets))
    assert sized.decode(b"".join(packets)).corrupt == (victim + 1,)


@given(sized_and_payloads, st.integers(0, 5), st.data())
def test_lost_bytes_cost_one_servo_and_no_other(
    drawn: tuple[SizedRead, list[bytes]], victim: int, data: st.DataObject
) -> None:
    sized, payloads = drawn
    packets = replies(sized, payloads)
    start = data.draw(st.integers(0, sized.stride - 1))
    count = data.draw(st.integers(1, sized.stride - start))
    packets[victim] = packets[victim][:start] + packets[victim][start + count :]

    left = len(packets[victim])
    # Or its header is, and it could be the end of the one before it.
    is_end_of_other = start < 3 and b"\xff" in packets[victim - 1][4:]
    has_rest = 0 < left < sized.stride // 2 + 4 or is_end_of_other
    check(sized, payloads, victim, b"".join(packets), has_rest=has_rest)


@given(sized_and_payloads, st.integers(0, 4), st.binary(min_size=1, max_size=3), st.data())
def test_bytes_put_into_a_reply_cost_one_servo_and_no_other(
    drawn: tuple[SizedRead, list[bytes]], victim: int, extra: bytes, data: st.DataObject
) -> None:
    sized, payloads = drawn
    packets = replies(sized, payloads)
    at = data.draw(st.integers(1, sized.stride - 1))
    packets[victim] = packets[victim][:at] + extra + packets[victim][at:]
    received = b"".join(packets)

    check(sized, payloads, victim, received, is_gone=False, has_rest=True)
    assert len(sized.decode(received).data) >= (5 if at >= 3 else 4)


@given(sized_and_payloads, st.integers(0, 6), st.binary(min_size=1, max_size=60))
def test_garbage_between_replies_costs_the_one_before_it_at_most(
    drawn: tuple[SizedRead, list[bytes]], place: int, garbage: bytes
) -> None:
    sized, payloads = drawn
    assume(b"\xff\xff" not in b"\xff" + garbage + b"\xff")  # else it may forge a reply
    packets = replies(sized, payloads)
    packets.insert(place, garbage)

    decoded = sized.decode(b"".join(packets))

    assert all(data == payloads[servo_id - 1] for servo_id, data in decoded.data.items())
    assert set(decoded.data) | {place} >= set(SERVO_IDS)


@given(sized_and_payloads, st.integers(0, 125))
def test_a_truncated_answer_gives_the_whole_replies_before_the_cut(
    drawn: tuple[SizedRead, list[bytes]], length: int
) -> None:
    sized, payloads = drawn
    length = min(length, sized.reply_bytes - 1)
    received = b"".join(replies(sized, payloads))[:length]

    decoded = sized.decode(received)

    assert not decoded.is_exact
    assert sorted(decoded.data) == list(SERVO_IDS[: length // sized.stride])


@given(sized_and_payloads, st.sets(st.integers(1, 6), min_size=1))
def test_absent_servos_cost_nothing_but_themselves(
    drawn: tuple[SizedRead, list[bytes]], absent: set[int]
) -> None:
    sized, payloads = drawn
    packets = [
        p for i, p in zip(SERVO_IDS, replies(sized, payloads), strict=True) if i not in absent
    ]

    decoded = sized.decode(b"".join(packets))

    assert {i: payloads[i - 1] for i in SERVO_IDS if i not in absent} == decoded.data
    assert decoded.corrupt == ()


@given(st.binary(max_size=300))
def test_any_bytes_at_all_decode_to_something(received: bytes) -> None:
    for sized in (POSITIONS, STATES):
        decoded = sized.decode(received)

        assert set(decoded.data) <= set(SERVO_IDS)
        assert not set(decoded.corrupt) & set(decoded.data)
        assert sized.still_due(received) >= 0


@pytest.mark.parametrize("sized", BLOCKS)
def test_two_servos_of_one_id_are_both_disbelieved(sized: SizedRead) -> None:
    payloads = [bytes((i,)) * sized.size for i in SERVO_IDS]
    packets = replies(sized, payloads)
    packets.insert(2, frame(2, 0, b"\x55" * sized.size))

    decoded = sized.decode(b"".join(packets))

    assert sorted(decoded.data) == [1, 3, 4, 5, 6]
    assert decoded.corrupt == (2,)


@pytest.mark.parametrize("sized", BLOCKS)
@pytest.mark.parametrize(("cut", "due"), [(0, 0), (1, 1), (5, 5)])
def test_a_reply_that_has_begun_is_waited_for(sized: SizedRead, cut: int, due: int) -> None:
    whole = b"noise" + b"".join(replies(sized, [bytes(sized.size)] * 6))

    assert sized.still_due(whole[: len(whole) - cut]) == due


def test_nothing_is_due_once_the_last_servo_of_the_chain_has_spoken() -> None:
    packets = replies(POSITIONS, [bytes(2)] * 6)
    del packets[2]

    assert POSITIONS.still_due(b"".join(packets)) == 0
    assert POSITIONS.still_due(b"".join(packets[:-1])) == POSITIONS.stride


@given(st.lists(st.integers(-2000, 4095), min_size=6, max_size=6))
def test_a_sync_write_is_the_frame_that_would_be_built_anew(values: list[int]) -> None:
    write = SyncWrite(GOAL_POSITION, SERVO_IDS)
    write.fill([7] * 6)
    parameters = bytes((42, 2))
    for servo_id, value in zip(SERVO_IDS, values, strict=True):
        encoded = abs(value) | (0x8000 if value < 0 else 0)
        parameters += bytes((servo_id, encoded & 0xFF, encoded >> 8))

    assert write.fill(values) == frame(0xFE, 0x83, parameters)


def test_a_sync_write_refuses_too_few_values() -> None:
    with pytest.raises(ValueError, match="shorter"):
        SyncWrite(TORQUE_LIMIT, SERVO_IDS).fill([1000] * 5)


def dense_payload(rng: random.Random, size: int) -> bytes:
    """Return bytes that look like headers, ids and lengths of this very block."""
    common = (0xFF, 0xFF, 0x00, 0x02, 0x11)
    return bytes(rng.choice((*common, rng.randrange(256))) for _ in range(size))


def damage(rng: random.Random, packets: list[bytes], kind: str) -> bytes:
    """Lose, put in or change one byte of one reply; not of the last: nothing comes behind it."""
    victim = rng.randrange(len(packets) - 1)
    packet = bytearray(packets[victim])
    at = rng.randrange(len(packet))
    match kind:
        case "lost":
            del packet[at]
        case "inserted":
            packet.insert(at, rng.choice((0x00, 0xFF, rng.randrange(256))))
        case _:
            packet[at] ^= rng.randrange(1, 256)
    packets[victim] = bytes(packet)
    return b"".join(packets)


@pytest.mark.parametrize("kind", ["lost", "inserted", "changed"])
def test_one_byte_of_a_chain_makes_no_wrong_value(kind: str) -> None:
    """The checksum alone lets one damaged reply in 256 pass: here are 8000."""
    rng = random.Random(20)
    forms = [*BlockRead(STATE_BLOCK, SERVO_IDS).sized[:3], POSITIONS]
    heard = 0
    for number in range(8000):
        sized = forms[number % len(forms)]
        wanted = 2 if sized is POSITIONS else 15
        payloads = [dense_payload(rng, sized.size) for _ in SERVO_IDS]

        decoded = sized.decode(damage(rng, replies(sized, payloads), kind))

        for servo_id, data in decoded.data.items():
            assert data == payloads[servo_id - 1][:wanted]
        heard += len(decoded.data)
    assert heard > 8000 * 4.5


def shortened(payload: bytes, servo_id: int, at: int) -> bytes:
    packet = frame(servo_id, 0, payload)
    return packet[:at] + packet[at + 1 :]


def test_two_neighbours_that_each_lost_a_byte_are_not_taken_for_whole() -> None:
    """The first one's checksum is right over the FF with which the second begins."""
    wrong = 0
    rng = random.Random(13)
    for _ in range(20_000):
        payloads = [bytes(15), dense_payload(rng, 15), dense_payload(rng, 15), *[bytes(15)] * 3]
        packets = replies(STATES, payloads)
        for victim in (1, 2):
            packets[victim] = shortened(payloads[victim], victim + 1, rng.randrange(5, 21))

        decoded = STATES.decode(b"".join(packets))

        wrong += any(data != payloads[i - 1] for i, data in decoded.data.items())
        assert set(decoded.data) >= {1, 4, 5, 6}
    assert wrong == 0


@pytest.mark.parametrize("sized", BLOCKS)
@pytest.mark.parametrize("size", [0, 1, 4, 9, 30])
def test_a_servo_before_one_that_answers_with_another_length_is_heard(
    sized: SizedRead, size: int
) -> None:
    packets = replies(sized, [bytes((i,)) * sized.size for i in SERVO_IDS])
    packets[3] = frame(4, 0, bytes(size))

    decoded = sized.decode(b"".join(packets))

    assert sorted(decoded.data) == [1, 2, 3, 5, 6]


def test_a_servo_before_a_late_reply_of_one_that_was_not_asked_is_heard() -> None:
    sized = BlockRead(STATE_BLOCK, SERVO_IDS).of((1, 2, 4, 5, 6))[0]
    packets = [frame(i, 0, bytes((i,)) * 15) for i in sized.ids]
    packets.insert(2, frame(3, 0, bytes(17)))

    assert sorted(sized.decode(b"".join(packets)).data) == [1, 2, 4, 5, 6]


def test_behind_the_last_servo_of_the_chain_no_byte_may_be_left_over() -> None:
    packets = replies(STATES, [bytes(15)] * 6)
    del packets[0]

    assert sorted(STATES.decode(b"".join(packets) + b"\xff").data) == [2, 3, 4, 5]
