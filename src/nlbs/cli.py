"""The command ``nlbs``: the four programs under one name, ``nlbs train`` for ``nlbs-train``."""

import importlib

import click

from nlbs import __version__
from nlbs.command import PROGRAMS, Group, entry_point


class _Programs(Group):
    """Programs that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names in the order of work."""
        return list(PROGRAMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a program by its name; None: there is none."""
        if cmd_name in PROGRAMS and cmd_name not in self.commands:
            self.add_command(importlib.import_module(f"nlbs.{cmd_name}.cli").cli, cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the programs."""
        for name in PROGRAMS:
            self.get_command(ctx, name)
        super().format_commands(ctx, formatter)


@click.group(cls=_Programs)
@click.version_option(__version__)
def cli() -> None:
    """Mammograms become shards, shards a model, a model patches, and patches a report: in this order.

    Each is a program of its own too: nlbs-preprocess, nlbs-train, nlbs-generate, nlbs-evaluate.
    """


main = entry_point(cli)
