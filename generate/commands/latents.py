"""Commands that look at the latent of a model: reconstruct, interpolate, traverse, vary."""

from typing import Any

import click

from nlbs.command import Command, Finite
from nlbs.generate.commands.options import (
    CONDITIONS_TEXT,
    call_of,
    condition_options,
    flags_of,
    model_options,
    out_option,
    overwrite_option,
    rows_option,
    say_written,
    shards_option,
    split_option,
    values_of,
)
from nlbs.models.stages.choice import sampler_options
from nlbs.options import count_option
from nlbs.paths import PATH, AnyPath

_real_num_option = count_option("--num", 8, "How many patches, where no --row is given.", least=1)
_some_shards_option = click.option(
    "--shards", type=PATH, metavar="FOLDER", help="A shard set of real patches to begin with."
)


@click.command("reconstruct", cls=Command, short_help="Real patches and what the model makes of them.")
@model_options
@shards_option
@rows_option
@split_option
@_real_num_option
@out_option
@overwrite_option
def reconstruct_command(shards: AnyPath, rows: tuple[int, ...], split: str, num: int, **asked: Any) -> None:
    """Real patches and what the model makes of them.

    Larger patches come to the model's size as in training: by area average, or as their centre. samples.csv has the
    mean absolute error of each, in grey levels of 255.
    """
    from nlbs.generate.latent_pages import reconstructions

    say_written(reconstructions(call_of("reconstruct", asked), shards, rows, split, num), asked, shards)


@click.command("interpolate", cls=Command, short_help="Between two conditions, latents or real patches.")
@model_options
@sampler_options
@condition_options
@click.option(
    "--from", "start", type=CONDITIONS_TEXT, help="Conditions of the first, such as view=CC,cancer=no."
)
@click.option("--to", "end", type=CONDITIONS_TEXT, help="Conditions of the last, such as view=CC,cancer=yes.")
@click.option(
    "--to-seed", type=click.IntRange(0), help="Seed of the last latent; that of the first is --seed."
)
@_some_shards_option
@rows_option
@click.option(
    "--steps", type=click.IntRange(2), default=8, show_default=True, help="Patches, both ends among them."
)
@out_option
@overwrite_option
def interpolate_command(
    start: list[tuple[str, str]] | None,
    end: list[tuple[str, str]] | None,
    to_seed: int | None,
    shards: AnyPath | None,
    rows: tuple[int, ...],
    steps: int,
    **asked: Any,
) -> None:
    """The way between two conditions, two latents or two real patches.

    \b
      --from view=CC,cancer=no --to view=CC,cancer=yes  one latent, two conditions
      --view CC --seed 0 --to-seed 1                    two latents, one condition
      --shards shards/ --row 3 --row 8                  two real patches

    Latents are interpolated on the sphere, conditions between their embeddings.
    """
    from nlbs.generate.latent_pages import interpolation

    if (shards is None) != (not rows) or len(rows) > 2:
        raise click.UsageError("real patches are one --shards and one or two --row")
    if (start is None) != (end is None):
        raise click.UsageError("--from and --to belong together")
    if start is not None and flags_of(asked):
        raise click.UsageError("--from and --to say all conditions: leave out the flags")
    if rows and (to_seed is not None or flags_of(asked)):
        raise click.UsageError(
            "real patches have their own latents and conditions: leave out --to-seed and the flags"
        )
    if len(rows) < 2 and start is None and to_seed is None:
        raise click.UsageError("the two ends are the same: give --from and --to, --to-seed, or two --row")
    call, ends = call_of("interpolate", asked), None
    if start is not None and end is not None:
        ends = values_of(start, call.schema), values_of(end, call.schema)
    say_written(interpolation(call, ends, to_seed, shards, rows, steps), asked, shards)


@click.command("traverse", cls=Command, short_help="What one number of the latent does.")
@model_options
@sampler_options
@condition_options
@_some_shards_option
@rows_option
@click.option(
    "--level",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Level of the latent; 0 is the coarsest.",
)
@click.option("--dimension", "dimensions", type=click.IntRange(0), multiple=True,
              help="Number of the latent to move; may be given several times.  [default: 0]")  # fmt: skip
@click.option("--range", "reach", type=Finite(min=0, min_open=True), default=3.0, show_default=True,
              help="Move it from minus this to plus this.")  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(2), default=9, show_default=True, help="Patches of each dimension."
)
@out_option
@overwrite_option
def traverse_command(
    shards: AnyPath | None,
    rows: tuple[int, ...],
    level: int,
    dimensions: tuple[int, ...],
    reach: float,
    steps: int,
    **asked: Any,
) -> None:
    """What one number of the latent does, all others staying.

    Begins with the latent of --seed and the conditions of the flags, or with a real patch.
    """
    from nlbs.generate.latent_pages import traversal

    if (shards is None) != (not rows) or len(rows) > 1:
        raise click.UsageError("a real patch is one --shards and one --row")
    if rows and flags_of(asked):
        raise click.UsageError("a real patch has its own conditions: leave out the flags")
    call = call_of("traverse", asked)
    say_written(traversal(call, shards, rows, level, dimensions or (0,), reach, steps), asked, shards)


@click.command("vary", cls=Command, short_help="Variations of a real patch.")
@model_options
@shards_option
@rows_option
@split_option
@count_option("--num", 7, "Variations of each patch.", least=1)
@click.option("--strength", type=Finite(min=0), default=0.5, show_default=True,
              help="Standard deviation of the noise, where the prior's is about 1.")  # fmt: skip
@out_option
@overwrite_option
def vary_command(
    shards: AnyPath, rows: tuple[int, ...], split: str, num: int, strength: float, **asked: Any
) -> None:
    """Variations of a real patch: encoded, noise added in the latent, decoded.

    Without --row, of one patch of --split.
    """
    from nlbs.generate.latent_pages import variations

    say_written(variations(call_of("vary", asked), shards, rows, split, num, strength), asked, shards)


LATENT_COMMANDS = (reconstruct_command, interpolate_command, traverse_command, vary_command)
