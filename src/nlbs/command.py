"""What every command line does alike: plain errors, exit codes, an interrupt that is no crash."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import click

from nlbs.errors import NlbsError

EXIT_ERROR = 1  #: stopped by an error that the message explains
EXIT_INTERRUPTED = 130  #: Ctrl-C; the same command continues


def entry_point(command: click.Command) -> Callable[[Sequence[str] | None], NoReturn]:
    """Gives the ``main`` of a console script for a click command.

    Exit codes: 0 done, 1 an :class:`NlbsError` (one sentence, no traceback), 2 wrong usage,
    130 interrupted. Any other exception is a defect of ours and keeps its traceback.
    """

    def main(args: Sequence[str] | None = None) -> NoReturn:
        try:
            command.main(args=None if args is None else list(args), standalone_mode=False)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted. The same command continues where it stopped.", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except NlbsError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(EXIT_ERROR)
        sys.exit(0)

    return main
