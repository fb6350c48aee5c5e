"""Keys of a terminal (Ctrl-C, Ctrl-Z, the one for QUIT) are for the command, not its workers.

A terminal sends them to the whole process group. A worker that obeyed them would end, stop or dump
core beside a command that has only begun to end in order.
"""

import signal

TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)


def leave_terminal_to_parent() -> None:
    """Ignore what a terminal's keys send; call first in a worker process."""
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
