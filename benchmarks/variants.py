"""Variants of presets, trained on as many patches each with several seeds, and how far their draws are from real ones.

What conclusions.py and faults.py share. A run that is there is taken as it is, so an interrupted call goes on.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from nlbs.evaluate.measures.arrays import Patches
from nlbs.evaluate.measures.distances import frechet_distance
from nlbs.evaluate.measures.features import DEFAULT_EXTRACTOR, FeatureExtractor, extractor
from nlbs.evaluate.measures.references import point_mass
from nlbs.evaluate.real_patches import RealPatches, read_patches, rows_to_judge_on
from nlbs.models import registry
from nlbs.models.device import choose_device
from nlbs.models.drawing import Codes, draw_patches
from nlbs.models.stages.choice import SamplerChoice
from nlbs.shards import ShardSet, open_shards
from nlbs.train.config import NO_AUGMENT, TrainConfig, resolved_config, with_conditions
from nlbs.train.run_folder import RunFolder
from nlbs.train.setup import train

#: --quick: networks that train in a second, at 32 pixels.
QUICK: dict[str, dict[str, Any]] = {
    "vindr-vae-small": {"widths": (4, 8)},
    "cxr-vae-small": {"widths": (4, 8)},
    "lsgan-small": {"widths": (8, 4, 4), "latent_dim": 8},
    "gmvae-small": {"features": "none", "widths": (4, 8)},
    "spatial-cvae-small": {
        "widths": (8, 8), "scales": (1,), "latent_dim": 4, "token_width": 8, "condition_embed_dim": 8,
    },
    "diffusion-small": {"widths": (8, 8), "blocks": 1, "embed_dim": 16, "steps": 2},
}  # fmt: skip
_QUICK_EDGE, _QUICK_BATCH = 32, 8


@dataclass(frozen=True)
class Variant:
    """A preset, and what is other in it."""

    preset: str
    model: Mapping[str, Any] = field(default_factory=dict)  #: over the preset's section
    training: Mapping[str, Any] = field(default_factory=dict)  #: as well

    @property
    def folder(self) -> str:
        """The name of its runs, by what differs from the preset: experiments share them.

        Raises:
            ConfigError: there is no such preset.
        """
        preset = asdict(resolved_config(self.preset, None, {}).model)
        changed = {key: value for key, value in self.model.items() if value != preset[key]}
        changed |= {key: value for key, value in self.training.items() if not isinstance(value, Mapping)}
        for section in (value for value in self.training.values() if isinstance(value, Mapping)):
            changed |= section
        return "-".join([self.preset, *(f"{key}={value}" for key, value in changed.items())])


@dataclass(frozen=True)
class Bench:
    """What all runs of a call share."""

    shards: ShardSet
    out: Path
    patches: int
    num: int
    extractor: FeatureExtractor
    device: torch.device
    quick: bool
    augment: bool = True

    @property
    def words(self) -> dict[str, Any]:
        """What a result says of how it was made."""
        how = {"quick": self.quick, "augment": self.augment}
        return {"patches": self.patches, "extractor": self.extractor.name, **how}

    def config(self, variant: Variant, seed: int = 0) -> TrainConfig:
        """Return how a variant is trained: whole epochs, until it has seen so many patches at least.

        Raises:
            ConfigError: there is no such preset, or it has no such option.
        """
        epochs = math.ceil(self.patches / len(self.shards.rows("train")))
        # The same batches for all: an epoch leaves out what fills none.
        data = {"resolution": _QUICK_EDGE, "batch_size": _QUICK_BATCH} if self.quick else {"batch_size": 64}
        model = (QUICK.get(variant.preset, {}) if self.quick else {}) | dict(variant.model)
        quiet = {"log_every_steps": 1000, "samples_every_steps": 1000}
        training: dict[str, Any] = {**variant.training, "seed": seed, "epochs": epochs, **quiet}
        if not self.augment:
            training["augment"] = asdict(NO_AUGMENT)
        config = resolved_config(variant.preset, None, {"model": model, "training": training, "data": data})
        return with_conditions(config, self.shards)

    def real(self, split: str, config: TrainConfig) -> RealPatches:
        """Return patches of a split as models see them."""
        rows = rows_to_judge_on(self.shards, split, None, split == "train")
        data = config.data
        return read_patches(self.shards, rows, data.resolution, data.fit, self.num, schema=config.schema)

    def run_folder(self, variant: Variant, seed: int) -> RunFolder:
        """Return where a variant's run with a seed is, or will be."""
        return RunFolder(self.out / variant.folder / str(seed))

    def drawn(self, variant: Variant, seed: int, conditions: Codes) -> Patches:
        """Return draws of a variant by conditions, uint8 (n, R, R); train it where it is not yet."""
        config, folder = self.config(variant, seed), self.run_folder(variant, seed)
        with redirect_stdout(sys.stderr):
            train(config, self.shards, folder, self.device)
        model = registry.load_checkpoint(folder.best_model, self.device)
        sampler = SamplerChoice().open(model, folder.best_model)
        return np.stack(list(draw_patches(sampler, conditions, seed)))


@dataclass(frozen=True)
class Distances:
    """Fréchet distances to held-out patches, by the features of one network."""

    held_out: int  #: patches
    floor: float  #: of as many training patches
    point_mass: float  #: of the mean training patch, as often
    drawn: Mapping[str, Sequence[float]]  #: folder of a variant -> of its draws, by seed

    def references(self) -> dict[str, float]:
        """Return what stands beside the distances of draws."""
        return {"held_out": self.held_out, "floor": self.floor, "point_mass": self.point_mass}


def distances(bench: Bench, variants: Iterable[Variant], seeds: int) -> Distances:
    """Train every variant with every seed, draw by the conditions of held-out patches, and compare."""
    each = {variant.folder: variant for variant in variants}
    config = bench.config(next(iter(each.values())))
    held_out, learnt = bench.real("test", config), bench.real("train", config)
    features = bench.extractor(held_out.pixels)

    def distance(patches: Patches) -> float:
        return frechet_distance(bench.extractor(patches), features)

    def of_draws(variant: Variant) -> list[float]:
        # A variant may see other conditions than the first does.
        conditions = bench.real("test", bench.config(variant)).conditions
        return [distance(bench.drawn(variant, seed, conditions)) for seed in range(seeds)]

    return Distances(
        held_out=len(held_out),
        floor=distance(learnt.pixels[: len(held_out)]),
        point_mass=distance(point_mass(learnt.pixels, len(held_out))),
        drawn={name: of_draws(variant) for name, variant in each.items()},
    )


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of a figure over two seeds or more, with its interval of 95 % by Student's t."""
    mean, half = np.mean(values), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return {"mean": float(mean), "low": float(mean - half), "high": float(mean + half), "seeds": list(values)}


def call(
    name: str,
    doc: str | None,
    run: Callable[[Bench, Sequence[str], int], Mapping[str, Any]],
    choices: Collection[str],
    arguments: Sequence[str] | None,
) -> None:
    """Run such a benchmark as its command line asks, and print one JSON line.

    Args:
        name: of the benchmark.
        doc: what it says of itself.
        run: gives its figures, of some of the choices and with so many seeds.
        choices: of ``--only``; all of them without.
        arguments: of the command line; None: those of the program.
    """
    parser = _options(doc)
    parser.add_argument("--only", nargs="+", choices=list(choices), default=list(choices), help="some alone")
    choice = _asked(parser, arguments)
    with _opened(choice) as bench:
        found = run(bench, choice.only, choice.seeds)
    print(json.dumps({"benchmark": name, **bench.words, **found}))


def _options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every such benchmark asks."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", required=True, help="patches of 64 x 64 or more, with a test split")
    parser.add_argument("--out", type=Path, required=True, help="runs")
    parser.add_argument("--patches", type=int, default=50_000, help="seen in training by each, at least")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each, two or more")
    parser.add_argument("--num", type=int, default=1000, help="held-out patches, and as many drawn")
    parser.add_argument(
        "--extractor", default=DEFAULT_EXTRACTOR, help="of features, as nlbs-evaluate takes it"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--no-augment", action="store_true", help="for images that are all turned to one side"
    )
    parser.add_argument("--quick", action="store_true", help="tiny networks: whether it runs, and no result")
    return parser


def _asked(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked; end the program with a sentence where there are too few seeds for an interval."""
    found = parser.parse_args(arguments)
    if found.seeds < 2:
        parser.error(f"--seeds is {found.seeds}; an interval over seeds needs two or more")
    return found


@contextmanager
def _opened(choice: argparse.Namespace) -> Iterator[Bench]:
    """Open the shard set and what else runs share."""
    device = choose_device(choice.device)
    with open_shards(choice.shards) as shards:
        yield Bench(
            shards=shards,
            out=choice.out,
            patches=choice.patches,
            num=choice.num,
            extractor=extractor(choice.extractor, device.type),
            device=device,
            quick=choice.quick,
            augment=not choice.no_augment,
        )
