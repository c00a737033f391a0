"""The options that several commands of ``nlbs-generate`` have, and the call that they make."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from nlbs import options
from nlbs.errors import ConfigError
from nlbs.manifests.asked import pairs_of, parse_values, short_forms
from nlbs.manifests.schema import Schema, Value
from nlbs.models.folder import CHECKPOINT
from nlbs.models.stages.choice import SamplerChoice
from nlbs.options import Command, all_of, count_option, device_option
from nlbs.paths import AnyPath
from nlbs.text import counted

if TYPE_CHECKING:
    from nlbs.generate.draw import Call

#: What --format gives.
FORMATS = ("png", "shards", "dicom")
_SHORT_FORMS = {name: (f"--{name.replace('_', '-')}", words, help) for name, words, help in short_forms()}

#: Sections of the help pages.
SECTIONS = {
    "Which model draws": ("--checkpoint", "--sampler", "--device", "--seed"),
    "Where it goes": ("--out", "--format", "--single-file", "--overwrite", "--runtime"),
    "Which conditions": (
        *(flag for flag, _, _ in _SHORT_FORMS.values()), "--condition", "--conditions", "--like", "--grid", "--from",
        "--to", "--to-seed", "--vary-ordinal", "--vary-mirror",
    ),
    "Which real patches": (
        "--shards", "--where", "--split", "--row", "--rarest", "--box", "--mask", "--scale",
        "--real-from", "--licence",
    ),
    "How many": ("--num", "--quiz", "--factor", "--steps", "--level", "--dimension", "--range", "--strength"),
    "How it draws": (
        "--temperature", "--guidance", "--autoguidance", "--grain", "--correlation", "--precision", "--flow-steps",
        "--sampler-steps", "--passes",
    ),
}  # fmt: skip


class _Condition(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases of click only
    """A condition and its value: "density=D". What a model knows of them is seen when it is there."""

    name = "condition"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return name and text; what has no "=" is a usage error."""
        if not isinstance(value, str):
            return value
        name, equals, text = value.partition("=")
        return (name, text) if equals else self.fail(f"{value!r} is no NAME=VALUE", param, ctx)


class _Conditions(click.ParamType):  # type: ignore[type-arg]
    """Several of them in one text: "view=CC,cancer=yes"."""

    name = "conditions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return names and texts; what names no condition is a usage error."""
        try:
            return pairs_of(value) if isinstance(value, str) else value
        except ConfigError as error:
            self.fail(str(error), param, ctx)


CONDITIONS_TEXT = _Conditions()


checkpoint_option = click.option(
    "--checkpoint",
    type=CHECKPOINT,
    required=True,
    help="A run folder of nlbs-train, its best_model.safetensors, or tiny-phantom, a model that comes with nlbs.",
)
seed_option = count_option("--seed", 0, "Another number draws other patches.")
model_options = all_of(checkpoint_option, device_option, seed_option)

condition_options = all_of(
    *(
        click.option(flag, name, metavar=words, help=f"{meaning}.  [default: unknown]")
        for name, (flag, words, meaning) in _SHORT_FORMS.items()
    ),
    click.option(
        "--condition",
        "more",
        type=_Condition(),
        multiple=True,
        metavar="NAME=VALUE",
        help="Any condition of the model, such as density=D; of several labels findings=Mass|Nodule, of several "
        "numbers position=0.5,0.2. May be given several times.  [default: unknown]",
    ),
)


def output_options(default: str = "png") -> Callable[[Command], Command]:
    """Return the options of a command that may draw many patches, with its default format."""
    return all_of(
        out_option,
        click.option(
            "--format",
            "kind",
            type=click.Choice(FORMATS),
            default=default,
            show_default=True,
            help="png: a file each. shards: a shard set, for nlbs-train and any WebDataset reader. "
            "dicom: PNGs, and secondary captures of them in dicom/ (needs nlbs-cvae[dicom]).",
        ),
        overwrite_option,
    )


out_option = options.out_option(
    "Folder for what is drawn; the same command continues where it stopped.", local=True
)
overwrite_option = options.overwrite_option("Replace what another command wrote into --out.")
where_option = click.option(
    "--where",
    metavar="FILTER",
    help="Only those training patches that match, such as \"view == 'MLO'\".  [default: all]",
)
shards_option = options.shards_option("A shard set of real patches.", "FOLDER")
rows_option = click.option(
    "--row",
    "rows",
    type=click.IntRange(0),
    multiple=True,
    help="Row of the manifest of --shards; may be given several times.",
)
split_option = click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="val",
    show_default=True,
    help="Split to take patches from at random, where no --row is given.",
)


def say_written(written: int, asked: dict[str, Any], shards: AnyPath | None) -> None:
    """Say how many patches a command wrote, and where; those of real patches are not to be passed on."""
    from nlbs.generate.folder import CONTACT_SHEET, SAMPLES_CSV

    if shards is None:
        click.echo(f"{counted(written, 'synthetic patch', 'synthetic patches')} in {asked['out']}")
    else:
        click.echo(
            f"{counted(written, 'patch', 'patches')} in {asked['out']}, made from those of real patients: treat them "
            "like their images"
        )
    click.echo(f"Contact sheet   {asked['out'] / CONTACT_SHEET}")
    click.echo(f"Table           {asked['out'] / SAMPLES_CSV}")


def flags_of(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts of the conditions that options say."""
    short = [(name, asked[name]) for name in _SHORT_FORMS if asked.get(name) is not None]
    return [*short, *asked.get("more", ())]


def values_of(pairs: Iterable[tuple[str, str]], schema: Schema) -> dict[str, Value]:
    """Return condition -> value of names and texts. Raises click.UsageError: the model does not know them."""
    try:
        return parse_values(pairs, schema)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def call_of(recipe: str, asked: dict[str, Any]) -> "Call":
    """Return what the options that all commands share say.

    Raises:
        click.UsageError: the model has no such condition, or not that value of it.
        CheckpointError: there is no such model.
    """
    from nlbs.generate.draw import Call
    from nlbs.models.checkpoint import read_schema

    schema = read_schema(asked["checkpoint"])
    flags = {field.name: asked[field.name] for field in fields(SamplerChoice) if field.name in asked}
    shared = {name: asked[name] for name in ("checkpoint", "device", "seed", "out", "overwrite")}
    return Call(
        **shared,
        sampler=SamplerChoice(**flags).of(asked["checkpoint"]),
        recipe=recipe,
        schema=schema,
        said=values_of(flags_of(asked), schema),
        kind=asked.get("kind", "png"),
    )
