"""Measure: the control path and its exits beside LeRobot, or the twin beside real arms."""

from typing import Annotated

import tyro

from scripts import bench_control, bench_exits, bench_twin

Args = (
    Annotated[bench_control.Args, tyro.conf.subcommand("control")]
    | Annotated[bench_exits.Args, tyro.conf.subcommand("exits")]
    | Annotated[bench_twin.Args, tyro.conf.subcommand("twin")]
)


def main(args: bench_control.Args | bench_exits.Args | bench_twin.Args) -> int:
    """Measure what was asked for."""
    match args:
        case bench_control.Args():
            return bench_control.main(args)
        case bench_exits.Args():
            return bench_exits.main(args)
        case bench_twin.Args():
            return bench_twin.main(args)
