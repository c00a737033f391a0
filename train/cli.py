"""The command ``nlbs-train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nlbs import __version__
from nlbs.command import Command, Finite, entry_point
from nlbs.options import device_option
from nlbs.paths import LOCAL_PATH, PATH, AnyPath
from nlbs.suggestions import or_list

if TYPE_CHECKING:
    from nlbs.train.config import TrainConfig

SECTIONS = {
    "Which patches": (
        "--shards", "--mix", "--where", "--conditions", "--balance", "--order", "--generation", "--verify",
        "--on-damage", "--cache-gb",
    ),
    "Which model, and where it is kept": ("--preset", "--config", "--run"),
    "How long": ("--epochs", "--max-steps", "--max-minutes"),
    "How it learns": (
        "--batch-size", "--learning-rate", "--kl-weight", "--precision", "--fit", "--no-augment", "--seed",
    ),
    "What is fitted after the epochs": ("--flow-patches", "--grain-patches"),
    "Where it runs": ("--device", "--resident", "--rank-timeout"),
    "Look before you train": ("--dry-run", "--bench", "--json"),
}  # fmt: skip
_CONTINUES = "It is not needed: the same command continues a run that was stopped."
_READS_AHEAD = "It is not needed: threads read and prepare batches ahead."
#: What other trainers ask for.
_NOT_NEEDED = {
    **dict.fromkeys(("resume", "resume_from", "continue", "restart"), _CONTINUES),
    **dict.fromkeys(("workers", "num_workers", "jobs", "n_jobs", "prefetch", "pin_memory"), _READS_AHEAD),
}
_OF_PRESET = "the preset's"
DEFAULT_PRESET = "nlbs"


def _names(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Read names divided by commas."""
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


def _numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Read numbers divided by commas."""
    try:
        return None if value is None else tuple(float(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 0.7,0.3") from None


def _in_configuration(word: str) -> str | None:
    """Say where the configuration has a key of that name, or that none is needed."""
    from nlbs.train.config import keys_named

    name = word.lstrip("-").replace("-", "_").lower()
    if name in _NOT_NEEDED:
        return _NOT_NEEDED[name]
    places = keys_named(name)
    return f"It is a key of the YAML file of --config: {or_list(places)}." if places else None


@click.command(
    cls=Command, sections=SECTIONS, elsewhere=_in_configuration, context_settings={"show_default": True}
)
@click.version_option(__version__)
@click.option("--shards", required=True, multiple=True, type=PATH, metavar="FOLDER",
              help="A shard set, or a dataset root that holds one; s3://bucket/folder too. "
              "Several are mixed, see --mix.")  # fmt: skip
@click.option("--mix", callback=_numbers, metavar="SHARES",
              help="With several --shards, which need it: the share of each in every batch, such as 0.7,0.3.  "
              "[default: none]")  # fmt: skip
@click.option("--where", metavar="FILTER",
              help="Train and validate on some patches: \"view == 'MLO' and cancer == 0\".  "
              "[default: all]")  # fmt: skip
@click.option("--conditions", callback=_names, metavar="COLUMNS",
              help="What the model is told of each patch, such as view,density,findings,position: columns of the shard "
              "set, age_years, position in the breast; density:categorical says of what kind.  "
              "[default: view, laterality, age_bin, cancer, false_positive]")  # fmt: skip
@click.option("--balance", callback=_names, metavar="COLUMNS",
              help="Show rare classes more often; a class is a value of columns such as cancer,view.  "
              "[default: each patch once an epoch]")  # fmt: skip
@click.option("--order", type=click.Choice(["global", "window", "sequential"]),
              help="global: any patch may come next. window: few shards at a time, for network folders. "
              "sequential: as they stand.  [default: global]")  # fmt: skip
@click.option("--cache-gb", type=Finite(min=0), show_default=False,
              help="GB of shards from an object store that the local disk keeps.  "
              "[default: $NLBS_CACHE_GB, or 20]")  # fmt: skip
@click.option("--generation", type=click.IntRange(min=1), metavar="N",
              help="Take a shard set that has grown as it was after N - 1 appends.  [default: the newest]")  # fmt: skip
@click.option("--verify", type=click.Choice(["first", "always", "off"]),
              help="When a patch is compared with its checksum: the first time it is read, always, or never (off).  "
              "[default: first]")  # fmt: skip
@click.option("--on-damage", type=click.Choice(["raise", "replace"]),
              help="raise: a damaged patch ends the run. replace: another patch of the same split and conditions "
              "stands in for it, and is counted.  [default: raise]")  # fmt: skip
@click.option("--preset", default=DEFAULT_PRESET, show_default=True, metavar="NAME",
              help="auto: the best generator that patches and device allow. nlbs: the conditional VAE, 256 x 256, for "
              "a GPU. nlbs-small: narrower, 64 x 64, for a CPU. guide, guide-small: the guide's own network, to "
              "compare with. Others: docs/zoo.md.")  # fmt: skip
@click.option("--config", "config_path", type=LOCAL_PATH, metavar="FILE",
              help="A YAML file with sections model, training, data, flow, autoguidance, grain; over "
              "the preset, and flags over both.  [default: none]")  # fmt: skip
@click.option("--run", "--run-folder", "run_path", type=LOCAL_PATH, metavar="FOLDER",
              help="Where the run is kept; the same command continues it.  [default: runs/PRESET]")  # fmt: skip
@device_option
@click.option("--epochs", type=click.IntRange(min=1), show_default=_OF_PRESET,
              help="Times through the training split.")  # fmt: skip
@click.option(
    "--max-steps", type=click.IntRange(min=1), show_default="no limit", help="Stop after so many steps."
)
@click.option("--max-minutes", type=Finite(min=0, min_open=True), show_default="no limit",
              help="Save and end after so many minutes; the same command continues.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), show_default=_OF_PRESET, help="Patches per step.")
@click.option("--learning-rate", type=Finite(min=0, min_open=True), show_default=_OF_PRESET,
              help="Learning rate at the start.")  # fmt: skip
@click.option("--kl-weight", type=Finite(min=0), show_default=_OF_PRESET,
              help="Weight of the KL term, after annealing.")  # fmt: skip
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
              show_default=_OF_PRESET, help="Precision of the model's passes; weights and losses stay float32. auto: "
              "bfloat16 where the processor or card has it, else what is quickest.")  # fmt: skip
@click.option("--fit", type=click.Choice(["downsample", "crop"]), show_default=_OF_PRESET,
              help="How larger patches come to the model's size: averaged down, or cut.")  # fmt: skip
@click.option("--resident", type=click.Choice(["auto", "always", "never"]),
              help="Keep all pixels on the device: auto, where half of its free memory holds them.  "
              "[default: never]")  # fmt: skip
@click.option("--flow-patches", type=click.IntRange(min=0), metavar="N", show_default=_OF_PRESET,
              help="Patches that are seen while the flow is fitted; 0: no flow, and no weak flow either.")  # fmt: skip
@click.option("--grain-patches", type=click.IntRange(min=0), metavar="N", show_default=_OF_PRESET,
              help="Patches whose grain is measured, also for a finished run; 0: no grain, and draws stay as "
              "smooth as reconstructions.")  # fmt: skip
@click.option("--no-augment", is_flag=True, help="Train on the patches as they are.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    show_default=_OF_PRESET,
    help="Seed of weights, order, augmentation and latents.",
)
@click.option("--rank-timeout", type=Finite(min=0, min_open=True), default=10.0, metavar="MINUTES",
              envvar="NLBS_RANK_TIMEOUT", show_envvar=True,
              help="Under torchrun: how long processes wait for each other before one counts as lost.")  # fmt: skip
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the configuration, the model's size and the memory it needs, and end.",
)
@click.option("--bench", is_flag=True,
              help="Measure loader, step and both for some seconds, say what holds them up, and end.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="With --bench: one JSON object, for programs.")
def cli(
    shards: tuple[AnyPath, ...], cache_gb: float | None, preset: str, config_path: Path | None, run_path: Path | None,
    device: str, rank_timeout: float, dry_run: bool, bench: bool, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Train a generative model from shards: the conditional VAE, or another of --preset.

    A run that was stopped, by Ctrl-C or otherwise, continues where it was when the same
    command is given again. On several GPUs:

    \b
      torchrun --nproc-per-node 2 -m nlbs.train --shards shards/
    """
    if as_json and not bench:
        raise click.UsageError("--json goes with --bench")

    from nlbs.config import write_yaml
    from nlbs.shards.reading.mixed_sets import Source, open_source, sets_of
    from nlbs.train.best_preset import AUTO, SMALL
    from nlbs.train.config import check_against_shards, resolved_config, with_conditions, without_mirroring

    def prepared() -> tuple["TrainConfig", Source]:
        # What a set is opened by is the same whatever auto comes to be.
        config = resolved_config(SMALL if preset == AUTO else preset, config_path, _as_config(flags))
        data = config.data
        source = open_source(shards, data.mix, cache_gb, data.generation, data.verify, data.on_damage)
        if preset == AUTO:
            config = _of_best_preset(source.resolution, device, config_path, _as_config(flags))
        config = with_conditions(config, source)
        for one in sets_of(source):
            check_against_shards(config, one.parameters, str(one.folder))
        return without_mirroring(config, [one.parameters for one in sets_of(source)]), source

    if dry_run:
        from nlbs.models.device import choose_device
        from nlbs.train import setup as start
        from nlbs.train.optimisation import with_precision

        config, source = prepared()
        # Also where no CUDA device is, which a run would need: what is asked is what it would take.
        where = choose_device("cpu" if device == "cpu" else "auto")
        found = start.dry_run(with_precision(config, where), source)
        click.echo(write_yaml(config), nl=False)
        click.echo(found)
        return
    if bench:
        from nlbs.models.device import choose_device
        from nlbs.train.bench import report
        from nlbs.train.optimisation import with_precision

        where = choose_device(device)
        config, source = prepared()
        click.echo(report(with_precision(config, where), source, where, as_json))
        return

    from nlbs.train import launch

    launch.train(prepared, run_path or Path("runs") / preset, device, 60 * rank_timeout, preset)


def _of_best_preset(
    resolution: int, device: str, config_path: Path | None, flags: dict[str, Any]
) -> "TrainConfig":
    """Return the configuration that ``auto`` is for patches of that size, and say which preset it is of."""
    from nlbs.models.device import choose_device
    from nlbs.train.best_preset import best_preset
    from nlbs.train.config import resolved_config

    chosen = best_preset(resolution, choose_device(device).type == "cuda")
    click.echo(f"preset: {chosen.preset}, {chosen.words}", err=True)
    return resolved_config(chosen.preset, config_path, flags, {"data": {"resolution": chosen.resolution}})


def _as_config(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were used as sections and keys of the configuration."""
    from dataclasses import asdict

    from nlbs.train.config import NO_AUGMENT

    training = {
        name: flags[name]
        for name in ("epochs", "max_steps", "max_minutes", "learning_rate", "precision", "seed")
    }
    training["loss"] = {"kl_weight": flags["kl_weight"]} if flags["kl_weight"] is not None else None
    training["augment"] = asdict(NO_AUGMENT) if flags["no_augment"] else None
    of_data = (
        "batch_size", "fit", "where", "conditions", "balance", "order", "mix", "resident", "generation", "verify",
        "on_damage",
    )  # fmt: skip
    data = {name: flags[name] for name in of_data}
    sections: dict[str, Any] = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in (("training", training), ("data", data))
    }
    if flags["flow_patches"] is not None:
        sections["flow"] = {"patches": flags["flow_patches"]} if flags["flow_patches"] else None
    if (patches := flags["grain_patches"]) is not None:
        sections["grain"] = {"patches": patches} if patches else None
    return sections


main = entry_point(cli)
