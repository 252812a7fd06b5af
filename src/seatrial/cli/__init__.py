"""The command line: the same dataclasses spelled with dashes, and no logic of its own.

One module for each group of commands. Imports stand inside the commands, so that
``--help`` need not wait for torch.
"""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence

import tyro

import seatrial
from seatrial.cli.combining import combine, compare
from seatrial.cli.linting import lint
from seatrial.cli.measuring import measure
from seatrial.cli.screen import ERR, OUT, say
from seatrial.cli.tables import pull, show
from seatrial.cli.trials import Terminated, audit, report, run
from seatrial.cli.vectors import fit, fit_method, steer
from seatrial.errors import BadOption, SeatrialError

__all__ = ["COMMANDS", "ERR", "OUT", "main"]

COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "report": report,
    "audit": audit,
    "fit": fit,
    "measure": measure,
    "steer": steer,
    "combine": combine,
    "compare": compare,
    "lint": lint,
    "pull": pull,
    "list": show,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: 0 is success, 2 and a sentence a user's mistake, 1 a defect of ours."""
    # Imports make 670,000 objects that stay; looking through them again and again for
    # garbage costs every command a second, and once more at its end another one. What is
    # young is still looked through.
    gc.set_threshold(10_000, 10, 1000)
    atexit.register(gc.freeze)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given == ["fit"]:
            raise BadOption(
                "fit needs a method: seatrial fit METHOD --concept CONCEPT --out FILE; see "
                "`seatrial list methods` and `seatrial fit METHOD --help`"
            )
        if given[:1] == ["fit"] and not given[1].startswith("-"):
            fit_method(given[1], given[2:])
        else:
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="seatrial", args=given, description=seatrial.__doc__
            )
    except SeatrialError as error:
        say(ERR, f"seatrial: {error}")
        return 2
    except SystemExit as end:
        # tyro ends so: 0 after --help, 2 for what it cannot parse; so does a broken pipe.
        return end.code if isinstance(end.code, int) else 2
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough. Python flushes stdout once
        # more on leaving, so it gets somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as end:
        say(ERR, "Stopped. What was measured is kept; the same command goes on from there.")
        return 143 if isinstance(end, Terminated) else 130
    return 0
