"""The command ``nlbs-evaluate``: a checkpoint and held-out patches in, a report out."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from nlbs import __version__
from nlbs.command import Group, entry_point
from nlbs.models.folder import CHECKPOINT
from nlbs.models.stages.choice import SamplerChoice, sampler_options
from nlbs.options import Option, all_of, count_option, device_option, overwrite_option
from nlbs.paths import LOCAL_PATH, PATH

SECTIONS = ("galleries", "reconstruction", "realism", "control", "utility", "memorisation", "latents")
#: What compare measures of each model.
PARTS = ("galleries", "reconstruction", "likelihood", "realism", "control", "memorisation", "anomaly")

#: Sections of the help pages.
HELP_SECTIONS = {
    "What is judged": (
        "--checkpoint",
        "--shards",
        "--split",
        "--where",
        "--healthy",
        "--abnormal",
        "--allow-train",
    ),
    "Where the report goes": ("--out", "--overwrite"),
    "What is measured": ("--only", "--num", "--extractor", "--images", "--heat-maps", "--seed"),
    "How the model draws": (
        "--sampler",
        "--temperature",
        "--guidance",
        "--autoguidance",
        "--grain",
        "--correlation",
        "--precision",
        "--flow-steps",
        "--sampler-steps",
    ),
    "Where it runs": ("--device",),
}

_Kind = TypeVar("_Kind")


def _only(known: Sequence[str]) -> Option:
    """Return the option --only among some sections."""

    def read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        """Read "realism,control"; None is all."""
        if value is None:
            return tuple(known)
        names = tuple(name.strip() for name in value.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise click.BadParameter(f"there is no section {unknown[0]!r}; known: {', '.join(known)}")
        return tuple(name for name in known if name in names)

    return click.option("--only", callback=read, metavar="SECTIONS",
                        help=f"Some of {', '.join(known)}, with commas.  [default: all]")  # fmt: skip


_checkpoint = click.option(
    "--checkpoint",
    type=CHECKPOINT,
    metavar="RUN",
    help="A run folder of nlbs-train, or its best_model.safetensors.  [required]",
)
#: The options that all uses have.
_shared = all_of(
    click.option("--shards", type=PATH, metavar="FOLDER",
                 help="A shard set, or a dataset root that holds one; s3://bucket/folder too.  [required]"),
    click.option("--out", type=LOCAL_PATH, metavar="FOLDER", help="Where the report is written.  [required]"),
    click.option("--split", type=click.Choice(["test", "val", "train"]), default="test", show_default=True,
                 help="Split whose patients to judge on; train only with --allow-train."),
    click.option("--allow-train", is_flag=True, help="Allow --split train: patients that the model learnt from."),
    device_option,
    count_option("--seed", 0, "Seed of draws, subsets, classifiers and intervals."),
    overwrite_option("Replace an earlier report in --out, and what compare has kept there."),
)  # fmt: skip
_extractor = click.option(
    "--extractor", default="efficientnet-lite0", show_default=True, metavar="NAME",
    help="Features of distances: efficientnet-lite0, random-convolutions, or MODULE:CLASS, a torch.nn.Module of your "
    "own.")  # fmt: skip
_num = click.option("--num", type=click.IntRange(2), default=2000, show_default=True,
                    help="Held-out patches at most, and as many drawn; twice as many training patches.")  # fmt: skip


@click.group(cls=Group, invoke_without_command=True, sections=HELP_SECTIONS)
@click.version_option(__version__)
@_checkpoint
@_shared
@_num
@click.option(
    "--where", metavar="FILTER", help="Patches to judge on.  [default: what the model was trained on]"
)
@_extractor
@_only(SECTIONS)
@sampler_options
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Judge a trained model on held-out patients: report.html for people, report.json for programs.

    nlbs-evaluate anomaly looks for abnormal images with a model of healthy ones, nlbs-evaluate compare puts several
    models side by side.
    """
    if ctx.invoked_subcommand is not None:
        given = [name for name in _NEEDED if options[name] is not None]
        if given:
            raise click.UsageError(f"give --{given[0]} after {ctx.invoked_subcommand}, not before it")
        return
    _check_given(ctx, options)
    from nlbs.evaluate.evaluation import Request, evaluate

    request, choice = _of(Request, options, say=click.echo), _of(SamplerChoice, options)
    _say_where(evaluate(request, choice=choice, **options))


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=LOCAL_PATH, metavar="RUNS")
@_shared
@_num
@click.option(
    "--where",
    metavar="FILTER",
    help="Patches to judge on.  [default: what the models were trained on, where that is the same; else all]",
)
@_extractor
@_only(PARTS)
@click.pass_context
def compare(ctx: click.Context, /, **options: Any) -> None:
    """Put models side by side, on the same held-out patients, to see which one to use.

    RUNS are run folders of nlbs-train, of any family; each draws as it does by itself. Writes compare.html and
    compare.json. What was measured is kept in --out: the same command with further runs measures these alone. A run
    that cannot be judged costs its row.
    """
    _check_given(ctx, options, ("shards", "out"))
    from nlbs.evaluate.comparison import compare
    from nlbs.evaluate.evaluation import Setting

    _say_where(compare(_of(Setting, options, say=click.echo), **options))


@cli.command()
@_checkpoint
@_shared
@click.option(
    "--healthy",
    metavar="FILTER",
    help="Images that are healthy.  [default: what the model's conditions call so; cancer == 0]",
)
@click.option("--abnormal", metavar="FILTER",
              help="Images that are not.  [default: what the model's conditions call so; cancer == 1]")  # fmt: skip
@click.option("--images", type=click.IntRange(2), default=400, show_default=True,
              help="Images to score at most, half of them abnormal; each with all its patches.")  # fmt: skip
@click.option("--heat-maps", type=click.IntRange(0), default=8, show_default=True,
              help="Draw heat maps of so many images, those that score highest.")  # fmt: skip
@click.pass_context
def anomaly(ctx: click.Context, /, **options: Any) -> None:
    """Score patches and images by what a model of healthy tissue cannot rebuild or finds unlikely.

    Train it first: nlbs-train --shards S --where "cancer == 0" --run runs/healthy. Writes anomaly.html,
    anomaly.json and the heat maps as PNG.
    """
    _check_given(ctx, options)
    from nlbs.evaluate.evaluation import Request, find_anomalies

    _say_where(find_anomalies(_of(Request, options, say=click.echo), **options))


_NEEDED = ("checkpoint", "shards", "out")


def _check_given(ctx: click.Context, options: dict[str, Any], needed: Sequence[str] = _NEEDED) -> None:
    """Refuse a call without what a use needs; a group could not require it of its own use alone."""
    for name in needed:
        if options[name] is None:
            raise click.UsageError(f"Missing option '--{name}'.", ctx)


def _of(kind: type[_Kind], options: dict[str, Any], **more: Any) -> _Kind:
    """Return a dataclass of those options that are its fields, and leave the others."""
    names = [field.name for field in fields(kind) if field.name in options]  # type: ignore[arg-type]
    return kind(**{name: options.pop(name) for name in names}, **more)


def _say_where(written: list[Path]) -> None:
    click.echo(f"Report   {written[0]}")
    click.echo(f"Figures  {written[1]}")


main = entry_point(cli)
