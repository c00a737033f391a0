"""The command ``nlbs-train``."""

from pathlib import Path
from typing import Any

import click

from nlbs import __version__
from nlbs.command import Finite, entry_point
from nlbs.paths import LOCAL_PATH, PATH, AnyPath


def _names(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Reads names divided by commas."""
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


def _numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Reads numbers divided by commas."""
    try:
        return None if value is None else tuple(float(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 0.7,0.3") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
@click.option("--shards", required=True, multiple=True, type=PATH, metavar="FOLDER",
              help="A shard set, or a dataset root that holds one; s3://bucket/folder too. "
              "Several are mixed, see --mix.")  # fmt: skip
@click.option("--mix", callback=_numbers, metavar="SHARES",
              help="The share of each of several --shards in every batch, such as 0.7,0.3.")  # fmt: skip
@click.option("--where", metavar="FILTER",
              help="Train and validate on some patches: \"view == 'MLO' and cancer == 0\".")  # fmt: skip
@click.option("--balance", callback=_names, metavar="COLUMNS",
              help="Show rare classes more often; a class is a value of columns such as cancer,view.")  # fmt: skip
@click.option("--order", type=click.Choice(["global", "window", "sequential"]),
              help="window: few shards at a time, for network folders. sequential: as they stand.")  # fmt: skip
@click.option("--cache-gb", type=Finite(min=0), show_default=False,
              help="How much of shards from an object store the local disk keeps.  "
              "[default: $NLBS_CACHE_GB, or 20]")  # fmt: skip
@click.option("--generation", type=click.IntRange(min=1), metavar="N",
              help="Of a shard set that has grown: as it was after N - 1 appends.  [default: the newest]")  # fmt: skip
@click.option("--verify", type=click.Choice(["first", "always", "off"]),
              help="When a patch is compared with its checksum: the first time it is read, each time, never.  "
              "[default: first]")  # fmt: skip
@click.option("--on-damage", type=click.Choice(["raise", "replace"]),
              help="replace: another patch of the same split and conditions stands in for a damaged one, and is "
              "counted.  [default: raise]")  # fmt: skip
@click.option("--preset", default="nlbs", metavar="NAME",
              help="nlbs: 256 x 256, for a GPU. nlbs-small: narrower, 64 x 64, for a CPU. guide, guide-small: the "
              "guide's own network, to compare with.")  # fmt: skip
@click.option("--config", "config_path", type=LOCAL_PATH, metavar="FILE",
              help="A YAML file with sections model, training, data, flow, autoguidance, grain; over "
              "the preset.")  # fmt: skip
@click.option("--run", "--run-folder", "run_path", type=LOCAL_PATH, metavar="FOLDER",
              help="Where the run is kept; the same command continues it.  [default: runs/PRESET]")  # fmt: skip
@click.option("--device", default="auto", type=click.Choice(["auto", "cuda", "cpu"]),
              help="auto: a CUDA device if there is one.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), help="Times through the training split.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after so many steps.")
@click.option("--max-minutes", type=Finite(min=0, min_open=True),
              help="Save and leave after so long; the same command continues.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), help="Patches per step.")
@click.option("--learning-rate", type=Finite(min=0, min_open=True), help="At the start.")
@click.option("--kl-weight", type=Finite(min=0), help="Of the KL term, after annealing.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"]),
              help="Of the model's passes; weights and losses stay float32.")  # fmt: skip
@click.option("--fit", type=click.Choice(["downsample", "crop"]),
              help="How larger patches come to the model's size.")  # fmt: skip
@click.option("--resident", type=click.Choice(["auto", "always", "never"]),
              help="Keep all pixels on the device: auto, where half of its free memory holds them.  "
              "[default: never]")  # fmt: skip
@click.option("--flow-patches", type=click.IntRange(min=0), metavar="COUNT",
              help="Seen while the flow is fitted, after the epochs; 0: none, and no weak flow beside it.")  # fmt: skip
@click.option("--grain-patches", type=click.IntRange(min=0), metavar="COUNT",
              help="Whose grain is measured, after the epochs, also of a finished run; 0: none, and draws stay "
              "as smooth as reconstructions.")  # fmt: skip
@click.option("--no-augment", is_flag=True, help="Train on the patches as they are.")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, order, augmentation and latents.")
@click.option("--rank-timeout", type=Finite(min=0, min_open=True), default=10.0, metavar="MINUTES",
              envvar="NLBS_RANK_TIMEOUT", show_envvar=True,
              help="Under torchrun: how long processes wait for each other before they take one for lost.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the configuration and the model's size, and leave.")
@click.option("--bench", is_flag=True,
              help="Measure loader, step and both for some seconds, say what holds them up, and leave.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="With --bench: for machines.")
def cli(
    shards: tuple[AnyPath, ...], cache_gb: float | None, preset: str, config_path: Path | None, run_path: Path | None,
    device: str, rank_timeout: float, dry_run: bool, bench: bool, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Train the conditional VAE from shards.

    A run that was stopped, by Ctrl-C or otherwise, continues where it was when the same
    command is given again. On several GPUs: torchrun --nproc-per-node 2 -m nlbs.train ...
    """
    if as_json and not bench:
        raise click.UsageError("--json goes with --bench")

    from nlbs.config import write_yaml
    from nlbs.shards.mixture import sets_of
    from nlbs.train.config import TrainConfig, check_against_shards, resolved_config
    from nlbs.train.source import Source, open_source

    def prepared() -> tuple[TrainConfig, Source]:
        config = resolved_config(preset, config_path, _as_config(flags))
        data = config.data
        source = open_source(shards, data.mix, cache_gb, data.generation, data.verify, data.on_damage)
        for one in sets_of(source):
            check_against_shards(config, one.parameters, str(one.folder))
        return config, source

    if dry_run:
        from nlbs.train import start

        config, source = prepared()
        click.echo(write_yaml(config), nl=False)
        click.echo(start.dry_run(config, source))
        return
    if bench:
        from nlbs.models.device import choose_device
        from nlbs.train.bench import report

        click.echo(report(*prepared(), choose_device(device), as_json))
        return

    from nlbs.train import launch

    launch.train(prepared, run_path or Path("runs") / preset, device, 60 * rank_timeout)


def _as_config(flags: dict[str, Any]) -> dict[str, Any]:
    """Gives the flags that were used as sections and keys of the configuration."""
    from dataclasses import asdict

    from nlbs.train.config import NO_AUGMENT

    training = {
        name: flags[name]
        for name in ("epochs", "max_steps", "max_minutes", "learning_rate", "precision", "seed")
    }
    training["loss"] = {"kl_weight": flags["kl_weight"]} if flags["kl_weight"] is not None else None
    training["augment"] = asdict(NO_AUGMENT) if flags["no_augment"] else None
    of_data = (
        "batch_size", "fit", "where", "balance", "order", "mix", "resident", "generation", "verify", "on_damage"
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
