"""The options that several commands of ``nlbs-generate`` have, and what their words become."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeVar

import click

from nlbs.generate.words import code_of, codes_of
from nlbs.manifests.conditions import UNKNOWN
from nlbs.paths import LOCAL_PATH, PATH

Command = TypeVar("Command", bound=Callable[..., Any])

#: What --format gives.
FORMATS = ("png", "shards", "dicom")

#: Option of a condition -> the condition.
_FLAGS = {
    "view": "view",
    "laterality": "laterality",
    "age": "age_bin",
    "cancer": "cancer",
    "false_positive": "false_positive",
}


#: Sections of the help pages.
SECTIONS = {
    "Which model draws": ("--checkpoint", "--sampler", "--device", "--seed"),
    "Where it goes": ("--out", "--format", "--overwrite"),
    "Which conditions": (
        "--view", "--laterality", "--age", "--cancer", "--false-positive", "--conditions", "--like", "--grid", "--from",
        "--to", "--to-seed", "--vary-age", "--vary-laterality",
    ),
    "Which real patches": ("--shards", "--where", "--split", "--row", "--rarest", "--box", "--mask", "--scale"),
    "How many": ("--num", "--factor", "--steps", "--level", "--dimension", "--range", "--strength"),
    "How it draws": (
        "--temperature", "--guidance", "--autoguidance", "--grain", "--flow-steps", "--sampler-steps", "--passes",
    ),
}  # fmt: skip


class _Condition(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases of click only
    """A condition as a person writes it; "unknown" is a value too."""

    def __init__(self, name: str, condition: str) -> None:
        self.name, self._condition = name, condition

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the code; a wrong value is a usage error."""
        try:
            return code_of(self._condition, value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}, or 'unknown'", param, ctx)


class _Conditions(click.ParamType):  # type: ignore[type-arg]
    """Several conditions in one text: "view=CC,cancer=yes"."""

    name = "conditions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the codes; a wrong value is a usage error."""
        try:
            return codes_of(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


CONDITIONS_TEXT = _Conditions()


def _all(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return one decorator for several options, shown in this order."""

    def decorate(command: Command) -> Command:
        return reduce(lambda done, option: option(done), reversed(options), command)

    return decorate


model_options = _all(
    click.option(
        "--checkpoint", type=LOCAL_PATH, required=True, help="A best_model.safetensors of nlbs-train."
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cuda", "cpu"]),
        default="auto",
        show_default=True,
        help="auto: a CUDA device if there is one.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Another number draws other patches.",
    ),
)

condition_options = _all(
    click.option("--view", type=_Condition("CC|MLO", "view"), help="Projection.  [default: unknown]"),
    click.option(
        "--laterality", type=_Condition("L|R", "laterality"), help="Side of the patient.  [default: unknown]"
    ),
    click.option("--age", type=_Condition("years", "age"), help="Age in years.  [default: unknown]"),
    click.option(
        "--cancer", type=_Condition("yes|no", "cancer"), help="Biopsy-confirmed cancer.  [default: unknown]"
    ),
    click.option(
        "--false-positive",
        type=_Condition("yes|no", "false_positive"),
        help="Recalled, and no cancer.  [default: unknown]",
    ),
)


def output_options(default: str = "png") -> Callable[[Command], Command]:
    """Return the options of a command that may draw many patches, with its default format."""
    return _all(
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


out_option = click.option(
    "--out",
    type=LOCAL_PATH,
    required=True,
    help="Folder for what is drawn; the same command continues where it stopped.",
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace what another command wrote into --out."
)
where_option = click.option(
    "--where",
    metavar="FILTER",
    help="Only those training patches that match, such as \"view == 'MLO'\".  [default: all]",
)
shards_option = click.option(
    "--shards", type=PATH, required=True, metavar="FOLDER", help="A shard set of real patches."
)


def num_option(default: int, text: str) -> Callable[[Command], Command]:
    """Return --num with its default and help."""
    return click.option("--num", type=click.IntRange(1), default=default, show_default=True, help=text)


def said_conditions(flags: Mapping[str, Any]) -> dict[str, int]:
    """Return condition -> code of the condition flags that were used, "unknown" among the codes."""
    return {condition: flags[flag] for flag, condition in _FLAGS.items() if flags[flag] is not None}


def all_conditions(flags: Mapping[str, Any]) -> dict[str, int]:
    """Return the code of every condition; one whose flag was not used is unknown."""
    return {**dict.fromkeys(_FLAGS.values(), UNKNOWN), **said_conditions(flags)}
