"""The guide's four uses as commands: teaching cases, augmentation, a set to share, rare combinations."""

from typing import Any

import click

from nlbs.command import Command, Finite
from nlbs.generate.commands.options import (
    call_of,
    condition_options,
    flags_of,
    model_options,
    out_option,
    output_options,
    overwrite_option,
    shards_option,
    where_option,
)
from nlbs.models.stages.choice import sampler_options
from nlbs.options import count_option
from nlbs.paths import PATH, AnyPath


@click.command("educational", cls=Command, short_help="Teaching cases that keep their answer, and a key.")
@model_options
@sampler_options
@condition_options
@count_option(
    "--num", 8, "Cases of each kind: of the NLBS conditions normal, cancer, false positive.", least=1
)
@click.option("--like", type=PATH, metavar="SHARDS",
              help="Draw view, side, age and what else there is as they occur in the training patches of a shard set.  "
              "[default: all alike]")  # fmt: skip
@out_option
@overwrite_option
def educational_command(num: int, like: AnyPath | None, **asked: Any) -> None:
    """Teaching cases: pictures that keep their answer, and a key.

    A kind for all healthy, and one for each thing that healthy patients do not have: normal, cancer and false
    positive, in an order drawn by --seed. Neither case-001.png nor samples.csv nor contact_sheet.png say which is
    which; answers/answer_key.csv and answers/contact_sheet.png do.
    """
    from nlbs.generate.draw import draw
    from nlbs.generate.educational import cases

    call = call_of("educational", asked)
    draw(call, cases(call.schema, num, call.seed, call.said, like))


@click.command("augment", cls=Command, short_help="Training patches' conditions, lightly varied, again.")
@model_options
@sampler_options
@shards_option
@where_option
@count_option("--factor", 1, "Patches to draw for each real one.", least=1)
@click.option("--vary-ordinal", "--vary-age", "ordinal", type=Finite(0, 1), default=0.1, show_default=True,
              help="Probability that an ordinal condition, as the age bin is one, moves to a neighbour.")  # fmt: skip
@click.option("--vary-mirror", "--vary-laterality", "mirror", type=Finite(0, 1), default=0.5, show_default=True,
              help="Probability that the conditions become those of the mirror image: the side changes.")  # fmt: skip
@output_options("shards")
def augment_command(
    shards: AnyPath, where: str | None, factor: int, ordinal: float, mirror: float, **asked: Any
) -> None:
    """More of the training patches: their conditions, lightly varied, times a factor.

    Train on both with nlbs-train --shards real --shards synthetic --mix 0.5,0.5.
    """
    from nlbs.generate.distribution import Distribution
    from nlbs.generate.draw import draw
    from nlbs.shards import open_shards

    call = call_of("augment", asked)
    with open_shards(shards) as opened:
        plan = Distribution(opened, call.schema, where).varied(factor, call.seed, ordinal, mirror)
    draw(call, plan)


@click.command("share", cls=Command, short_help="A synthetic set to pass on, with a datasheet.")
@model_options
@sampler_options
@shards_option
@where_option
@count_option("--num", 1000, "How many patches.", least=1)
@output_options("shards")
def share_command(shards: AnyPath, where: str | None, num: int, **asked: Any) -> None:
    """A synthetic set with its conditions and a datasheet.

    Conditions occur together as in the training patches of --shards. README.md says what the set is. Measure
    whether the model repeats its training images before anybody outside sees it.
    """
    from nlbs.generate.distribution import Distribution
    from nlbs.generate.draw import draw
    from nlbs.shards import open_shards

    call = call_of("share", asked)
    with open_shards(shards) as opened:
        plan = Distribution(opened, call.schema, where).drawn(num, call.seed)
    draw(call, plan, with_datasheet=True)


@click.command("rare", cls=Command, short_help="Rare combinations of conditions, named or found.")
@model_options
@sampler_options
@condition_options
@click.option("--shards", type=PATH, metavar="FOLDER",
              help="Find the rarest combinations among the training patches of a shard set that the flags allow.  "
              "[default: the one combination that the flags say]")  # fmt: skip
@where_option
@count_option("--rarest", 8, "How many combinations.", least=1)
@count_option("--num", 16, "Patches of each combination.", least=1)
@output_options()
def rare_command(shards: AnyPath | None, where: str | None, rarest: int, num: int, **asked: Any) -> None:
    """Rare combinations of conditions: those that are named, or the rarest of a set.

    Rare is what the fewest patients of the training split have. A model draws worst what it saw least: look at the
    pictures before they are used.
    """
    from nlbs.generate.distribution import Distribution, rare
    from nlbs.generate.draw import draw
    from nlbs.generate.plan import one_condition
    from nlbs.shards import open_shards

    if shards is None:
        if where is not None:
            raise click.UsageError("--where chooses among the training patches of --shards: give that too")
        if not flags_of(asked):
            raise click.UsageError(
                "name the combination by flags such as --cancer yes, or a set with --shards"
            )
    call = call_of("rare", asked)
    if shards is None:
        draw(call, one_condition(call.schema, call.said, num))
        return
    with open_shards(shards) as opened:
        distribution = Distribution(opened, call.schema, where)
    found = distribution.rarest(rarest, call.said)
    for one in found:
        click.echo(one.told(call.schema))
    draw(call, rare(call.schema, found, num, distribution.source))


RECIPES = (educational_command, augment_command, share_command, rare_command)
