"""The four programs and all their commands, for tests that look at every one."""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from nlbs.evaluate.cli import cli as evaluate
from nlbs.generate.cli import cli as generate
from nlbs.preprocess.cli import cli as preprocess
from nlbs.train.cli import cli as train

PROGRAMS: dict[str, click.Command] = {
    "nlbs-preprocess": preprocess,
    "nlbs-train": train,
    "nlbs-generate": generate,
    "nlbs-evaluate": evaluate,
}


@dataclass(frozen=True)
class Page:
    """One command, as its help page is asked for."""

    words: tuple[str, ...]  #: such as ("nlbs-preprocess", "info")
    command: click.Command
    context: click.Context

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def options(self) -> list[click.Option]:
        """Its options, without --help and --version."""
        return [
            option
            for option in self.command.get_params(self.context)
            if isinstance(option, click.Option) and not {"--help", "--version"} & set(option.opts)
        ]

    @property
    def flags(self) -> set[str]:
        """All names of all its options."""
        return {
            flag
            for option in self.command.get_params(self.context)
            for flag in (*option.opts, *option.secondary_opts)
        }

    def text(self, columns: int = 80) -> str:
        """Gives the help page as a terminal of so many columns shows it."""
        self.context.terminal_width = min(columns, self.context.max_content_width or 80)
        return self.command.get_help(self.context)


def pages() -> Iterator[Page]:
    """Gives every command of every program."""
    for name, program in PROGRAMS.items():
        context = program.context_class(program, info_name=name, **program.context_settings)
        yield Page((name,), program, context)
        if isinstance(program, click.Group):
            for word in program.list_commands(context):
                command = program.commands[word]
                inner = command.context_class(
                    command, parent=context, info_name=word, **command.context_settings
                )
                yield Page((name, word), command, inner)


PAGES = list(pages())
