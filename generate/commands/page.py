"""The command that publishes a model as a page: page."""

from pathlib import Path
from typing import Any

import click

from nlbs.command import Command
from nlbs.generate.commands.options import (
    call_of,
    checkpoint_option,
    out_option,
    overwrite_option,
    seed_option,
    split_option,
)
from nlbs.models.stages.choice import sampler_options
from nlbs.paths import LOCAL_PATH, PATH, AnyPath


@click.command("page", cls=Command, short_help="A page that draws in a browser, with quizzes for teaching.")
@checkpoint_option
@seed_option
@sampler_options
@click.option("--quiz", type=click.IntRange(1), default=None, metavar="N",
              help="A quiz of the cases of nlbs-generate educational, N of each kind.  [default: none]")  # fmt: skip
@click.option("--real-from", "real", type=PATH, default=None, metavar="SHARDS",
              help="A quiz of real or synthetic: N real patches of --split, which everybody who has the page can "
              "take out of it.  [default: none]")  # fmt: skip
@click.option("--licence", "--license", default="", metavar="WORDS",
              help="Licence of the real patches, and whose they are: stands beside them.  [default: none]")  # fmt: skip
@split_option
@click.option(
    "--single-file", is_flag=True, help="Write all into one file, which opens from a disk or a stick."
)
@click.option("--runtime", type=LOCAL_PATH, default=None, metavar="FOLDER",
              help="Folder dist of the npm package onnxruntime-web.  [default: fetched from npm, once]")  # fmt: skip
@out_option
@overwrite_option
def page_command(
    quiz: int | None, real: AnyPath | None, licence: str, split: str, single_file: bool, runtime: Path | None,
    **asked: Any,
) -> None:  # fmt: skip
    """A page that draws patches in a browser, on the visitor's own machine.

    Conditions, seed and guidance are controls; patch i is the command's within a grey level. The page asks nothing of
    any other place. It holds the weights, which are published with it: a model is refused unless nlbs-evaluate found
    no copies of training patches. Needs nlbs-cvae[page].
    """
    from nlbs.generate.page.page import Asked, write_page

    if real is not None and (quiz is None or not licence.strip()):
        raise click.UsageError("--real-from shows real patches in a quiz: give --quiz and --licence too")
    call = call_of("page", {**asked, "device": "cpu"})  # where graphs are made
    write_page(call, Asked(single_file, quiz, real, licence.strip(), split, runtime))
