"""What every command line does alike: plain errors, exit codes, an interrupt that is no crash."""

import errno
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO, cast

import click

from nlbs.errors import NlbsError
from nlbs.openmp import wait_asleep
from nlbs.text import LONGEST_MESSAGE, PrintableStream, printable

EXIT_ERROR = 1  #: stopped by an error that the message explains
EXIT_INTERRUPTED = 130  #: Ctrl-C; the same command continues

_LINES = "\n\t"
_MAKE_ROOM = "What is complete is kept: make room and give the same command again."
_MEMORY = "There is not enough memory: take fewer --jobs, or a smaller --batch-size, or a machine with more."
_NETWORK = "The network folder has gone away: see that it is there again, and give the same command again."
#: Not every system knows all of them.
_OF_THE_NETWORK = {
    getattr(errno, name)
    for name in ("ESTALE", "EREMOTEIO", "ENOLCK", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN")
    if hasattr(errno, name)
}
#: What the operating system refuses, and what to do about it. Any other OSError is a defect of ours.
_OF_THE_MACHINE = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EROFS: "Choose a folder that can be written.",
    errno.EACCES: "Ask for the permission, or choose another folder.",
    errno.EPERM: "Ask for the permission, or choose another folder.",
    errno.EFBIG: "This file system takes no file as large as that (FAT32: 4 GB): choose a folder on another one.",
    errno.ELOOP: "A symbolic link stands where a file is to be written: remove it, or choose another folder.",
    errno.EEXIST: "Something of that name is there already: remove it, or choose another folder.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOTDIR: "A file stands where a folder is expected: choose another folder.",
    errno.EISDIR: "A folder stands where a file is expected: remove it, or choose another folder.",
    errno.EMFILE: "Allow more open files (ulimit -n), or take fewer --jobs.",
    errno.ENFILE: "The machine has too many open files: wait, or take fewer --jobs.",
    errno.ENOMEM: _MEMORY,
    **dict.fromkeys((errno.EBUSY, errno.ETXTBSY), "Something else uses it: wait until that has ended."),
    **dict.fromkeys(
        (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENXIO, errno.ENODEV, errno.EXDEV),
        "This file system cannot do what is needed here, or what is there is no regular file: choose another folder.",
    ),
    **dict.fromkeys(_OF_THE_NETWORK, _NETWORK),
    errno.EIO: "The disk or the network folder fails: check it, and give the same command again.",
}
#: Modules of Python that Windows lacks.
_OF_UNIX = {"fcntl", "resource"}
_NEEDS_UNIX = (
    "this command needs Python's module {module}, which this system lacks, as Windows does: run it on Linux or in the "
    "Windows Subsystem for Linux; what it makes can then be read here"
)


@contextmanager
def _printable_streams() -> Iterator[None]:
    """Lets nothing through to a terminal that steers it: names in files may come from anywhere.

    One place for all that a command says, its warnings and its progress included.
    """
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, PrintableStream(sys.stdout, _LINES))
    sys.stderr = cast(TextIO, PrintableStream(sys.stderr, _LINES + "\r"))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class Finite(click.FloatRange):
    """A number with bounds that is finite: nan lies within every bound, and inf within an open one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number. Raises click.BadParameter: it is none, is not finite, or is out of bounds."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


#: More than zero, and finite.
POSITIVE = Finite(min=0, min_open=True)


def entry_point(command: click.Command) -> Callable[[Sequence[str] | None], NoReturn]:
    """Gives the ``main`` of a console script for a click command.

    Exit codes: 0 done, 1 an :class:`NlbsError` (one sentence, no traceback), 2 wrong usage,
    130 interrupted. Any other exception is a defect of ours and keeps its traceback.
    """

    def main(args: Sequence[str] | None = None) -> NoReturn:
        wait_asleep()
        with _printable_streams():
            run(args)

    def run(args: Sequence[str] | None) -> NoReturn:
        try:
            command.main(args=None if args is None else list(args), standalone_mode=False)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted. The same command continues where it stopped.", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except ModuleNotFoundError as error:
            if error.name not in _OF_UNIX:
                raise
            click.echo(f"Error: {_NEEDS_UNIX.format(module=error.name)}", err=True)
            sys.exit(EXIT_ERROR)
        except NlbsError as error:
            click.echo(f"Error: {printable(str(error), LONGEST_MESSAGE, keep=_LINES)}", err=True)
            sys.exit(EXIT_ERROR)
        except MemoryError:
            click.echo(f"Error: {_MEMORY}", err=True)
            sys.exit(EXIT_ERROR)
        except OSError as error:
            if error.errno not in _OF_THE_MACHINE:
                raise
            named = error.filename2 or error.filename  # of a rename, the name that was to be taken
            where = f" ({named})" if named else ""
            click.echo(f"Error: {error.strerror}{where}. {_OF_THE_MACHINE[error.errno]}", err=True)
            sys.exit(EXIT_ERROR)
        sys.exit(0)

    return main
