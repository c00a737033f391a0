"""Options that commands of several programs have; what differs between them is their help."""

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

from nlbs.paths import LOCAL_PATH, PATH

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Any], Any]


def all_of(*options: Option) -> Callable[[Command], Command]:
    """Return one decorator for several options, shown in this order."""

    def decorate(command: Command) -> Command:
        return reduce(lambda done, option: option(done), reversed(options), command)

    return decorate


def shards_option(what: str, metavar: str | None = None) -> Option:
    """Return the option that names a shard set or a dataset root."""
    return click.option("--shards", type=PATH, required=True, metavar=metavar, help=what)


def out_option(what: str, local: bool = False) -> Option:
    """Return the option that names what is to be written, ``local``: in a file system alone."""
    return click.option("--out", type=LOCAL_PATH if local else PATH, required=True, help=what)


def overwrite_option(what: str) -> Option:
    """Return the flag that lets other files be replaced."""
    return click.option("--overwrite", is_flag=True, help=what)


def count_option(name: str, default: int, what: str, least: int = 0, metavar: str | None = None) -> Option:
    """Return an option that takes a whole number."""
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=True, metavar=metavar, help=what)


#: Where a model runs.
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto",
    show_default=True,
    help="auto: a CUDA device if there is one. mps: the GPU of an Apple processor.",
)
