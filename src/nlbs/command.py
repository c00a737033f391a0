"""What every command line does alike: plain errors, exit codes, an interrupt that is no crash."""

import errno
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO, cast

import click

from nlbs.errors import NlbsError
from nlbs.extras import what_to_install
from nlbs.help_page import HelpPage, Sections, name_values, write_commands, write_options
from nlbs.openmp import wait_asleep
from nlbs.suggestions import commands_like, options_like, or_list
from nlbs.text import LONGEST_MESSAGE, PrintableStream, listed, printable

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
    """Let nothing through to a terminal that steers it: names in files may come from anywhere.

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

    def _describe_range(self) -> str:
        """Return the bounds for a help page; nothing where there are none, of which click makes "x<=None"."""
        return "" if self.min is None and self.max is None else super()._describe_range()


#: More than zero, and finite.
POSITIVE = Finite(min=0, min_open=True)

_WIDEST_PAGE = 100
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST_PAGE}
#: The programs, in the order of work; none is a command of another, each is one of nlbs.
PROGRAMS = ("preprocess", "train", "generate", "evaluate")


class _Context(click.Context):
    formatter_class = HelpPage


class Command(click.Command):
    """A command whose options stand in sections on its help page, and which suggests what was meant."""

    context_class = _Context

    def __init__(
        self,
        *args: Any,
        sections: Sections | None = None,
        elsewhere: Callable[[str], str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take what the help page and messages say.

        Args:
            args, kwargs: as click takes them.
            sections: of the options; None: those of the group that the command is of.
            elsewhere: says of an option that there is none of, "--ema-decay", where else it is to be had; or None.
        """
        kwargs["context_settings"] = {**_SETTINGS, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.sections, self._elsewhere = sections, elsewhere
        name_values(self.params)

    def sections_in(self, ctx: click.Context) -> Sections:
        """Return the sections of its options."""
        if self.sections is not None:
            return self.sections
        group = None if ctx.parent is None else ctx.parent.command
        return group.sections_in(ctx.parent) if isinstance(group, Command) and ctx.parent else {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their sections."""
        write_options(self.get_params(ctx), ctx, formatter, self.sections_in(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an option that there is none of gets a suggestion."""
        given = list(args)
        try:
            self._refuse_twice(ctx, list(args))
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            # Of "-lr", click names "-l" alone.
            whole = next((arg for arg in given if arg.startswith(error.option_name)), error.option_name)
            raise click.UsageError(self._no_such_option(whole.partition("=")[0], ctx), ctx) from None

    def _refuse_twice(self, ctx: click.Context, args: list[str]) -> None:
        """Raise UsageError where an option of one value is given twice: click would take the last without a word."""
        if ctx.resilient_parsing:
            return
        _, _, order = self.make_parser(ctx).parse_args(args)
        once = [p for p in order if isinstance(p, click.Option) and not (p.multiple or p.is_flag or p.count)]
        for option in once:
            if once.count(option) > 1:
                raise click.UsageError(
                    f"{option.opts[0]} is given {once.count(option)} times; give it once.", ctx
                )

    def _no_such_option(self, word: str, ctx: click.Context) -> str:
        message = f"No such option '{word}'."
        here = _flags_of(self, ctx)
        group = (
            self if isinstance(self, click.Group) else ctx.parent.command if ctx.parent is not None else None
        )
        if isinstance(group, click.Group):
            owners = [
                name for name in group.list_commands(ctx) if word in _flags_of(group.commands[name], ctx)
            ]
            if owners and isinstance(self, click.Group):
                return f"{message} It is an option of {listed(owners)}: give it after the command."
            if owners and not options_like(word, here):
                return f"{message} It is an option of {listed(owners)}."
        named = f"--{word.lstrip('-').replace('_', '-')}" in here
        elsewhere = None if self._elsewhere is None or named else self._elsewhere(word)
        if elsewhere is not None:
            return f"{message} {elsewhere}"
        meant = options_like(word, here)
        return f"{message} Did you mean {or_list(meant)}?" if meant else message


class Group(Command, click.Group):
    """Commands in the order of work, with whole summaries; a command that there is none of gets a suggestion."""

    command_class = Command

    def __init__(self, *args: Any, command_sections: Sections | None = None, **kwargs: Any) -> None:
        """Take the names of the commands in sections, in their order."""
        super().__init__(*args, **kwargs)
        self.command_sections = command_sections or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of work."""
        ordered = [name for names in self.command_sections.values() for name in names]
        return [
            *(name for name in ordered if name in self.commands),
            *(name for name in self.commands if name not in ordered),
        ]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        write_options(self.get_params(ctx), ctx, formatter, self.sections_in(ctx))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in their sections."""
        commands = {name: self.commands[name] for name in self.list_commands(ctx)}
        write_commands(commands, formatter, self.command_sections)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names. Raises click.UsageError with what may have been meant."""
        word = args[0]
        if self.get_command(ctx, word) is None and not ctx.resilient_parsing and not word.startswith("-"):
            ctx.fail(self._no_such_command(word, ctx))
        return super().resolve_command(ctx, args)

    def _no_such_command(self, word: str, ctx: click.Context) -> str:
        message = f"No such command '{word}'."
        if word in PROGRAMS and ctx.find_root().info_name != f"nlbs-{word}":
            return f"{message} nlbs-{word} is a program of its own."
        meant = commands_like(word, self.list_commands(ctx))
        return f"{message} Did you mean {or_list(meant)}?" if meant else message


def _flags_of(command: click.Command, ctx: click.Context) -> list[str]:
    return [
        flag
        for parameter in command.get_params(ctx)
        if isinstance(parameter, click.Option)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    ]


def entry_point(command: click.Command) -> Callable[[Sequence[str] | None], NoReturn]:
    """Return the ``main`` of a console script for a click command.

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
            why = _NEEDS_UNIX.format(module=error.name) if error.name in _OF_UNIX else what_to_install(error)
            if why is None:
                raise
            click.echo(f"Error: {why}", err=True)
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
