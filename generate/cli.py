"""The command ``nlbs-generate``: conditions and a checkpoint in, synthetic patches out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nlbs import __version__
from nlbs.command import entry_point
from nlbs.manifests.conditions import (
    Conditions,
    age_bin_of,
    parse_age,
    parse_flag,
    parse_laterality,
    parse_view,
)
from nlbs.paths import LOCAL_PATH


class _Condition(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases of click only
    """A condition as a person writes it; "unknown" is a value too."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads the value; a wrong one is a usage error."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}, or 'unknown'", param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option("--checkpoint", type=LOCAL_PATH, required=True, help="A best_model.safetensors of nlbs-train.")
@click.option("--view", type=_Condition("CC|MLO", parse_view), help="Projection.")
@click.option("--laterality", type=_Condition("L|R", parse_laterality), help="Side of the patient.")
@click.option("--age", type=_Condition("years", parse_age), help="Age in years.")
@click.option("--cancer", type=_Condition("yes|no", parse_flag), help="Biopsy-confirmed cancer.")
@click.option("--false-positive", type=_Condition("yes|no", parse_flag), help="Recalled, and no cancer.")
@click.option("--num", type=click.IntRange(1), default=16, show_default=True, help="How many patches.")
@click.option(
    "--out", type=LOCAL_PATH, required=True, help="Folder for the PNGs, contact_sheet.png and samples.csv."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws other patches.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace the samples of an earlier call in --out.")
def cli(
    checkpoint: Path,
    view: str | None,
    laterality: str | None,
    age: int | None,
    cancer: bool | None,
    false_positive: bool | None,
    num: int,
    out: Path,
    seed: int,
    device: str,
    overwrite: bool,
) -> None:
    """Draw synthetic patches from the prior, by condition. A condition left out is unknown."""
    import numpy as np

    from nlbs.cvae import ConditionalVAE
    from nlbs.cvae.device import choose_device
    from nlbs.cvae.samplers import PriorSampler, draw_patches
    from nlbs.errors import ConfigError
    from nlbs.generate.output import CONTACT_SHEET, SAMPLES_CSV, Provenance, model_id, write_samples
    from nlbs.manifests.conditions import CONDITIONS, VIEWS

    if view is not None and view not in VIEWS:
        raise ConfigError(f"--view {view}: a model knows {' and '.join(VIEWS)}; leave it out for unknown")
    target = choose_device(device)
    model = ConditionalVAE.load_from_checkpoint(checkpoint, target)
    wanted = Conditions(
        view, laterality, age, None if age is None else age_bin_of(age), cancer, false_positive
    )
    provenance = Provenance(model_id(checkpoint), seed, {name: wanted.code(name) for name in CONDITIONS})
    if model.samples_without_skips:
        click.echo(
            "Note: this model was trained with skip connections; a sample has no image to take them from, so they "
            "are zeros, which the model never saw in training."
        )
    codes = {name: np.full(num, code, dtype=np.int64) for name, code in provenance.conditions.items()}
    images = draw_patches(PriorSampler(model), codes, seed)
    written = write_samples(out, images, provenance, overwrite)
    click.echo(f"{len(written)} synthetic patches of {model.resolution}x{model.resolution} pixels in {out}")
    click.echo(f"Contact sheet   {out / CONTACT_SHEET}")
    click.echo(f"Table           {out / SAMPLES_CSV}")


main = entry_point(cli)
