"""The command ``nlbs-generate``: conditions and a checkpoint in, synthetic patches out."""

from pathlib import Path
from typing import Any

import click

from nlbs import __version__
from nlbs.command import Group, entry_point
from nlbs.generate.commands.editing import EDITING_COMMANDS
from nlbs.generate.commands.latents import LATENT_COMMANDS
from nlbs.generate.commands.options import (
    SECTIONS,
    call_of,
    condition_options,
    flags_of,
    model_options,
    output_options,
    where_option,
)
from nlbs.generate.commands.page import page_command
from nlbs.generate.commands.recipes import RECIPES
from nlbs.help_page import write_options
from nlbs.manifests.schema import POSITION
from nlbs.models.stages.choice import sampler_options
from nlbs.options import count_option
from nlbs.paths import LOCAL_PATH, PATH, AnyPath

_DEFAULT = "draw"
_EVERY = "all"  #: what --grid alone means


class _DefaultGroup(Group):
    """Commands, of which one need not be named: ``nlbs-generate --checkpoint ...`` draws."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.get_params(ctx) for name in option.opts}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options of the one that need not be named."""
        drawing = self.commands[_DEFAULT].get_params(ctx)
        version = [parameter for parameter in self.get_params(ctx) if "--version" in parameter.opts]
        self.format_commands(ctx, formatter)
        write_options([*drawing, *version], ctx, formatter, self.sections_in(ctx))


#: In the order of work.
COMMANDS = {
    "Draw": (_DEFAULT, "educational", "augment", "share", "rare"),
    "Look around latents": ("reconstruct", "interpolate", "traverse", "vary"),
    "Draw over real patches": ("inpaint", "superresolve"),
    "Publish": ("page",),
}


@click.group(
    cls=_DefaultGroup,
    sections=SECTIONS,
    command_sections=COMMANDS,
    subcommand_metavar="[COMMAND] --checkpoint RUN --out FOLDER ...",
    options_metavar="",
    epilog="These are the options of a call without a command; nlbs-generate COMMAND --help shows those of a command.",
)
@click.version_option(__version__)
def cli() -> None:
    """Draw synthetic patches by condition, from a trained model.

    Without a command: patches of the conditions that flags say (--condition: any of the model), of those in a CSV
    (--conditions), as they occur in a shard set (--like) or in every combination (--grid). A condition left out
    is unknown. Every file says that it is synthetic; patch i depends on model, sampler, conditions, seed and i
    alone. A call that was interrupted is continued by the same call.
    """


@cli.command(_DEFAULT)
@model_options
@sampler_options
@condition_options
@click.option(
    "--conditions",
    "table",
    type=LOCAL_PATH,
    metavar="FILE.csv",
    help="A table with a row for each patch, and columns of conditions of the model, such as view, laterality, age or "
    "age_bin, cancer, false_positive, and count for several patches; what is empty is unknown.",
)
@click.option(
    "--like",
    type=PATH,
    metavar="SHARDS",
    help="Draw conditions as they occur together in the training patches of a shard set.",
)
@where_option
@click.option(
    "--grid",
    "every",
    is_flag=False,
    flag_value=_EVERY,
    type=click.Choice([_EVERY, POSITION.name]),
    help="Draw every combination of known values, cancer with false positive among them, of labels none and each "
    "alone; a condition that a flag says stays as it is, and numbers that none says are unknown. "
    f"--grid {POSITION.name}: the patches of a breast by place, at the places and conditions of training images of "
    "--like; samples.json has how well neighbours agree where they overlap.",
)
@count_option(
    "--num",
    16,
    f"How many patches; with --grid, of each combination; with --grid {POSITION.name}, breasts.",
    least=1,
)
@output_options()
def draw_command(
    table: Path | None, like: AnyPath | None, where: str | None, every: str | None, num: int, **asked: Any
) -> None:
    """Patches of the conditions that are asked for; the command's name may be left out."""
    context = click.get_current_context()
    if every == POSITION.name:
        _draw_by_place(table, like, where, num, asked)
        return
    ways = {"--conditions": table is not None, "--like": like is not None, "--grid": every is not None}
    used = [name for name, given in ways.items() if given]
    if len(used) > 1:
        raise click.UsageError(f"{' and '.join(used)} say different things: give one of them")
    if used and not every and flags_of(asked):
        raise click.UsageError(f"{used[0]} says all conditions: leave out the flags, or {used[0]}")
    if where is not None and like is None:
        raise click.UsageError("--where chooses among the training patches of --like: give that too")
    if table is not None and context.get_parameter_source("num") is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError(
            "--num has no meaning with --conditions: its rows, and their 'count', say how many"
        )

    from nlbs.generate import plan as plans
    from nlbs.generate.draw import draw

    call = call_of(_DEFAULT, asked)
    if table is not None:
        from nlbs.generate.condition_table import read_conditions

        plan = read_conditions(table, call.schema)
    elif like is not None:
        from nlbs.generate.distribution import Distribution
        from nlbs.shards import open_shards

        with open_shards(like) as shards:
            plan = Distribution(shards, call.schema, where).drawn(num, call.seed)
    elif every:
        plan = plans.grid(call.schema, call.said, num)
    else:
        plan = plans.one_condition(call.schema, call.said, num)
    draw(call, plan)


def _draw_by_place(
    table: Path | None, like: AnyPath | None, where: str | None, num: int, asked: dict[str, Any]
) -> None:
    if like is None or table is not None:
        raise click.UsageError(f"--grid {POSITION.name} takes the places of a breast from --like SHARDS")
    if asked["kind"] != "png" or POSITION.name in {name for name, _ in asked["more"]}:
        raise click.UsageError(
            f"--grid {POSITION.name} says the places itself, and writes PNG files: leave out --condition "
            f"{POSITION.name} and --format"
        )

    from nlbs.generate.position_grid import position_grid

    seams = position_grid(call_of(_DEFAULT, asked), like, where, num)
    click.echo(
        f"Patches by place in {asked['out']}; mean |difference| where neighbours overlap, of 255 grey levels:"
    )
    for name, error in seams.items():
        click.echo(f"  {name.replace('_', ' '):18} {'no overlap' if error is None else f'{error:.1f}'}")


for _command in (*RECIPES, *LATENT_COMMANDS, *EDITING_COMMANDS, page_command):
    cli.add_command(_command)

main = entry_point(cli)
