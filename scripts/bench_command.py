"""Measure: the control path beside LeRobot, the SDK and rustypot, or the twin beside real arms."""

from typing import Annotated

import tyro

from scripts import bench_control, bench_twin

Args = (
    Annotated[bench_control.Args, tyro.conf.subcommand("control")]
    | Annotated[bench_twin.Args, tyro.conf.subcommand("twin")]
)


def main(args: bench_control.Args | bench_twin.Args) -> int:
    """Measure what was asked for."""
    if isinstance(args, bench_control.Args):
        return bench_control.main(args)
    return bench_twin.main(args)
