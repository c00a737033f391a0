"""Commands that draw over real patches: inpaint, superresolve."""

from typing import TYPE_CHECKING, Any

import click

from nlbs.command import Command
from nlbs.generate.commands.options import (
    call_of,
    condition_options,
    model_options,
    out_option,
    overwrite_option,
    rows_option,
    say_written,
    shards_option,
    split_option,
)
from nlbs.options import all_of, count_option
from nlbs.paths import LOCAL_PATH

if TYPE_CHECKING:
    from pathlib import Path

    from nlbs.generate.editing import Draws


class _Box(click.ParamType):  # type: ignore[type-arg]
    """Four whole numbers with commas between them."""

    name = "box"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return them; anything else is a usage error."""
        try:
            left, top, right, bottom = (int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no box; expected left,top,right,bottom such as 16,16,48,48", param, ctx)
        return left, top, right, bottom


_GUIDANCE = click.option(
    "--guidance",
    default="1",
    show_default=True,
    metavar="NUMBERS",
    help="Above 1, conditions count for more than in training: a number for all of them, and others for single ones, "
    "such as 1,cancer=4.",
)
_STEPS = count_option(
    "--sampler-steps",
    20,
    "Steps from noise to images; each evaluates the model twice, in each of --passes.",
    1,
    "N",
)
_PASSES = click.option(
    "--passes", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N",
    help="Passes over each step: more of them let what is drawn settle beside what is known.",
)  # fmt: skip
_NUM = count_option("--num", 4, "Draws of each patch.", least=1)


#: The options of both commands.
_editing = all_of(
    model_options, shards_option, rows_option, split_option, condition_options, _NUM, _GUIDANCE, _STEPS, _PASSES,
    out_option, overwrite_option,
)  # fmt: skip


@click.command("inpaint", cls=Command, short_help="What a hole in a real patch may have been.")
@click.option("--box", type=_Box(), default=None, metavar="LEFT,TOP,RIGHT,BOTTOM", show_default="the middle",
              help="What to draw, in pixels of the model's images.")  # fmt: skip
@click.option("--mask", type=LOCAL_PATH, default=None, metavar="FILE.png", show_default="the box",
              help="A picture in which the pixels to draw are white, in place of a box.")  # fmt: skip
@_editing
def inpaint_command(box: tuple[int, int, int, int] | None, mask: "Path | None", **asked: Any) -> None:
    """What a hole in a real patch may have been: several draws of it; all other pixels stay as they are.

    Without --row, of one patch of --split. Conditions are those of the patch but for those that flags say: --cancer yes
    draws a cancer into the hole. Needs a model that denoises.
    """
    from nlbs.generate.editing import inpaintings

    if box is not None and mask is not None:
        raise click.UsageError("--box and --mask say different things: give one of them")
    draws = _draws(asked)
    say_written(inpaintings(call_of("inpaint", asked), draws, box, mask), asked, draws.shards)


@click.command("superresolve", cls=Command, short_help="What a small patch may show at the model's size.")
@click.option("--scale", type=click.IntRange(2, 64), default=4, show_default=True, metavar="N",
              help="How many times smaller the known patch is, along an edge.")  # fmt: skip
@_editing
def superresolve_command(scale: int, **asked: Any) -> None:
    """What a small patch may show at the model's size: several draws, each of which averages to it.

    Patches of the shard set that are smaller by --scale are taken as they are; larger ones are averaged to that first.
    The means of a draw's blocks are the known pixels within a grey level. Without --row, of one patch of --split.
    Conditions are those of the patch but for those that flags say. Needs a model that denoises.
    """
    from nlbs.generate.editing import superresolutions

    draws = _draws(asked)
    say_written(superresolutions(call_of("superresolve", asked), draws, scale), asked, draws.shards)


def _draws(asked: dict[str, Any]) -> "Draws":
    from nlbs.generate.editing import Draws

    given = {name: asked[name] for name in ("shards", "rows", "split", "num", "passes")}
    steps = asked.pop("sampler_steps")  # not those of the sampler that --sampler of other commands chooses
    return Draws(**given, steps=steps)


EDITING_COMMANDS = (inpaint_command, superresolve_command)
