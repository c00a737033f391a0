"""What every command line does alike: plain errors, exit codes, an interrupt that is no crash."""

import errno
import io
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import click

from nlbs.errors import NlbsError

EXIT_ERROR = 1  #: stopped by an error that the message explains
EXIT_INTERRUPTED = 130  #: Ctrl-C; the same command continues

_MAKE_ROOM = "What is complete is kept: make room and give the same command again."
#: What the operating system refuses, and what to do about it. Any other OSError is a defect of ours.
_OF_THE_MACHINE = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EROFS: "Choose a folder that can be written.",
    errno.EACCES: "Ask for the permission, or choose another folder.",
    errno.EPERM: "Ask for the permission, or choose another folder.",
    errno.EIO: "The disk or the network folder fails: check it, and give the same command again.",
}


def entry_point(command: click.Command) -> Callable[[Sequence[str] | None], NoReturn]:
    """Gives the ``main`` of a console script for a click command.

    Exit codes: 0 done, 1 an :class:`NlbsError` (one sentence, no traceback), 2 wrong usage,
    130 interrupted. Any other exception is a defect of ours and keeps its traceback.
    """

    def main(args: Sequence[str] | None = None) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal cannot show must not end a command.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
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
        except OSError as error:
            if error.errno not in _OF_THE_MACHINE:
                raise
            where = f" ({error.filename})" if error.filename else ""
            click.echo(f"Error: {error.strerror}{where}. {_OF_THE_MACHINE[error.errno]}", err=True)
            sys.exit(EXIT_ERROR)
        sys.exit(0)

    return main
