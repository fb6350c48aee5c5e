"""The streams between the control process and a session: sockets in the run folder.

Record: numbered messages to one reader, kept for at least `RECORD_S` in a ring of fixed size; a
reader that falls farther behind is told the numbers it lost. Live: the newest message, to any
number of readers; a slow one never meets a backlog. Commands: a request with an id and a deadline,
one reply. Goals: the newest, with the number of the drive they are for; older drives' are dropped.

The control side never waits: what cannot be sent now stays in the ring (record), is overtaken
(live) or is dropped (a reply to a session that is gone).
"""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from robot.errors import ConfigError
from robot.messages import (
    Answer,
    Bye,
    Codec,
    Command,
    Gap,
    GoalAsked,
    Live,
    Off,
    Record,
    Reply,
    Request,
    Stop,
)

RECORD_S = 35.0  # at least 30 s at the control rate, and what is said between the ticks
SENT_AT_ONCE = 32  # messages a call of `pump` sends: it catches up, but not all in one tick
SOCKET_QUEUE = 64  # messages in each side's queue; what waits longer waits in the ring
MAX_COMMAND_BYTES = 65536

type Socket = zmq.Socket[bytes]


class StreamPaths:
    """Where the sockets of one control process are."""

    def __init__(self, folder: Path) -> None:
        self.record, self.live, self.commands, self.goals = (
            f"ipc://{folder / name}" for name in ("record", "live", "commands", "goals")
        )


class RecordRing:
    """The newest messages under consecutive numbers, as many as fit.

    Every slot is filled from the start, so that memory does not grow afterwards.
    """

    def __init__(self, capacity: int) -> None:
        self._slots = [bytes(1280) for _ in range(capacity)]
        self.next_number = 0

    def append(self, data: bytes) -> None:
        """Keep the message that has `next_number`; the oldest one goes when the ring is full."""
        self._slots[self.next_number % len(self._slots)] = data
        self.next_number += 1

    @property
    def oldest(self) -> int:
        """The smallest number that is still kept; `next_number` while none is."""
        return max(0, self.next_number - len(self._slots))

    def __getitem__(self, number: int) -> bytes:
        if not self.oldest <= number < self.next_number:
            raise IndexError(f"message {number} is not kept")
        return self._slots[number % len(self._slots)]


class RecordSender:
    """Control's end of the record stream."""

    def __init__(self, send: Callable[[bytes], bool], capacity: int) -> None:
        """Take `send`, which returns False when the reader takes no more just now."""
        self._send = send
        self._codec: Codec[Record] = Codec(Record)
        self._ring = RecordRing(capacity)
        self._sent = 0  # numbers below this have left, or are lost

    @property
    def next_number(self) -> int:
        """The number that the next message must carry."""
        return self._ring.next_number

    def tell(self, message: Record) -> None:
        """Keep a message and send what the reader takes."""
        self._ring.append(self._codec.encode(message))
        self.pump()

    def pump(self) -> None:
        """Send what waits, a bounded number of messages."""
        for _ in range(SENT_AT_ONCE):
            if self._sent < self._ring.oldest:
                gap = Gap(self._sent, self._ring.oldest - 1)
                if not self._send(self._codec.encode(gap)):
                    return
                self._sent = self._ring.oldest
            if self._sent == self._ring.next_number or not self._send(self._ring[self._sent]):
                return
            self._sent += 1


class ControlStreams:
    """Control's ends of all streams; opened before anything is made real-time.

    ZeroMQ's own thread moves the bytes; it keeps its ordinary priority.
    """

    def __init__(self, folder: Path, rate_hz: float) -> None:
        """Bind the sockets; raises ConfigError when the folder takes none."""
        paths = StreamPaths(folder)
        self._context: zmq.Context[Socket] = zmq.Context()
        record = _socket(self._context, zmq.PUSH)
        self._live = _socket(self._context, zmq.PUB, is_latest_only=True)
        self._goals = _socket(self._context, zmq.PULL, is_latest_only=True)
        self._commands = _socket(self._context, zmq.ROUTER)
        try:
            record.bind(paths.record)
            self._live.bind(paths.live)
            self._goals.bind(paths.goals)
            self._commands.bind(paths.commands)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise ConfigError(
                f"cannot open the control process's sockets in {folder}: {error}; "
                "set XDG_RUNTIME_DIR to a folder of your own"
            ) from error
        capacity = math.ceil(RECORD_S * rate_hz)
        self.record = RecordSender(lambda data: _send_now(record, data), capacity)
        self._live_codec: Codec[Live] = Codec(Live)
        self._goal_codec: Codec[GoalAsked] = Codec(GoalAsked)
        self._request_codec: Codec[Request] = Codec(Request)
        self._reply_codec: Codec[Reply] = Codec(Reply)

    def publish(self, live: Live) -> None:
        """Let every reader know the newest state."""
        _send_now(self._live, self._live_codec.encode(live))

    def newest_goal(self, generation: int) -> GoalAsked | None:
        """Return a goal that came since the last call; None for none, or for another drive's."""
        data = _receive_now(self._goals)
        if data is None:
            return None
        with contextlib.suppress(msgspec.DecodeError):
            goal = self._goal_codec.decode(data)
            if goal.generation == generation:
                return goal
        return None

    def next_request(self, now_s: float) -> "Asked | None":
        """Return a command that came; one whose deadline has passed is dropped.

        Never one that lets go: an arm that is off too late is better than one that stays on.
        """
        while self._commands.poll(0):
            sender, data = self._commands.recv_multipart(zmq.NOBLOCK)
            with contextlib.suppress(msgspec.DecodeError):
                request = self._request_codec.decode(data)
                lets_go = isinstance(request.command, Stop | Off | Bye)
                if lets_go or now_s <= request.deadline_s:
                    return Asked(self, sender, request)
        return None

    def reply(self, sender: bytes, reply: Reply) -> None:
        """Send a reply; lost when nobody is there to take it."""
        with contextlib.suppress(zmq.ZMQError):
            self._commands.send_multipart([sender, self._reply_codec.encode(reply)], zmq.NOBLOCK)

    def close(self, *, linger_s: float = 0.5) -> None:
        """Close all sockets, giving last words that long to leave; may be called twice."""
        self._context.destroy(linger=int(linger_s * 1000))


class Asked:
    """A command, and the way back to who gave it."""

    def __init__(self, streams: ControlStreams, sender: bytes, request: Request) -> None:
        self.command: Command = request.command
        self._streams = streams
        self._sender = sender
        self._id = request.id

    def answer(self, answer: Answer) -> None:
        """Answer; once."""
        self._streams.reply(self._sender, Reply(self._id, answer))


class SessionStreams:
    """A session's ends of all streams. Use from one thread."""

    def __init__(self, folder: Path) -> None:
        paths = StreamPaths(folder)
        self._context: zmq.Context[Socket] = zmq.Context()
        self.record = _socket(self._context, zmq.PULL)
        self.live = _socket(self._context, zmq.SUB, is_latest_only=True)
        self.live.setsockopt(zmq.SUBSCRIBE, b"")
        self._goals = _socket(self._context, zmq.PUSH, is_latest_only=True)
        self._commands = _socket(self._context, zmq.DEALER)
        self.record.connect(paths.record)
        self.live.connect(paths.live)
        self._goals.connect(paths.goals)
        self._commands.connect(paths.commands)
        self._record_codec: Codec[Record] = Codec(Record)
        self._live_codec: Codec[Live] = Codec(Live)
        self._goal_codec: Codec[GoalAsked] = Codec(GoalAsked)
        self._request_codec: Codec[Request] = Codec(Request)
        self._reply_codec: Codec[Reply] = Codec(Reply)
        self._last_id = 0

    def wait(self, timeout_s: float) -> None:
        """Return when a record or a live message is there, at the latest after `timeout_s`."""
        poller = zmq.Poller()
        poller.register(self.record, zmq.POLLIN)
        poller.register(self.live, zmq.POLLIN)
        poller.poll(int(timeout_s * 1000))

    def next_record(self, timeout_s: float = 0.0) -> Record | None:
        """Return the next message of the record stream; None when none comes in time."""
        if timeout_s:
            self.record.poll(int(timeout_s * 1000))
        data = _receive_now(self.record)
        return None if data is None else self._record_codec.decode(data)

    def newest(self) -> Live | None:
        """Return the newest live message since the last call; None while there is none.

        One may have waited in the kernel while this process was stopped: take what comes behind it.
        """
        data = None
        while (newer := _receive_now(self.live)) is not None:
            data = newer
        return None if data is None else self._live_codec.decode(data)

    def send_goal(self, goal: GoalAsked) -> None:
        """Send a goal; it overtakes any that has not been taken."""
        _send_now(self._goals, self._goal_codec.encode(goal))

    def request(self, command: Command, deadline_s: float) -> int:
        """Send a command and return its id."""
        self._last_id += 1
        _send_now(
            self._commands, self._request_codec.encode(Request(self._last_id, deadline_s, command))
        )
        return self._last_id

    def reply(self, request_id: int, timeout_s: float) -> Answer | None:
        """Return the reply to a request, None when it does not come in time.

        Replies to other requests, which nobody waits for any more, are dropped.
        """
        while self._commands.poll(int(timeout_s * 1000)):
            reply = self._reply_codec.decode(self._commands.recv(zmq.NOBLOCK))
            if reply.id == request_id:
                return reply.answer
        return None

    def close(self) -> None:
        """Close all sockets; may be called twice."""
        self._context.destroy(linger=0)


def _socket(
    context: "zmq.Context[Socket]", kind: zmq.SocketType, *, is_latest_only: bool = False
) -> Socket:
    socket: Socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, SOCKET_QUEUE)
    socket.setsockopt(zmq.RCVHWM, SOCKET_QUEUE)
    if is_latest_only:
        socket.setsockopt(zmq.CONFLATE, 1)
    if kind in (zmq.ROUTER, zmq.PULL):
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_COMMAND_BYTES)
    return socket


def _send_now(socket: Socket, data: bytes) -> bool:
    try:
        socket.send(data, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def _receive_now(socket: Socket) -> bytes | None:
    try:
        return socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        return None
