"""What the chest X-ray zoo concluded and never tested: trains each side on as many patches. Prints JSON with verdicts.

Its five conclusions (docs/zoo.md), an experiment each: more Gaussians, a larger latent and transition layers do not
help; convolutional decoders do; a GAN draws better than a VAE. Each variant is trained as nlbs-train does, with several
seeds, and its draws by the conditions of held-out patches are compared with these by the Fréchet distance, beside floor
and point mass. Intervals of 95 % are over the seeds (Student's t): variants whose intervals overlap are not shown to
differ. A run that is there is taken as it is, so an interrupted call goes on.

    nlbs-preprocess build-shards --csv meta.csv --images images/ --out root/ --mode whole --resolution 64 \\
        --split 70/15/15
    python -m benchmarks.conclusions --shards root/whole-r64 --patches 50000 --seeds 5 --out conclusions/
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from nlbs.errors import ConfigError
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
from nlbs.text import listed
from nlbs.train.config import NO_AUGMENT, TrainConfig, resolved_config, with_conditions
from nlbs.train.run_folder import RunFolder
from nlbs.train.setup import train


@dataclass(frozen=True)
class Variant:
    """One side of an experiment."""

    preset: str
    model: Mapping[str, Any] = field(default_factory=dict)  #: over the preset's section

    @property
    def folder(self) -> str:
        """The name of its runs, by what differs from the preset: experiments share them."""
        preset = asdict(resolved_config(self.preset, None, {}).model)
        changed = [f"{key}={value}" for key, value in self.model.items() if value != preset[key]]
        return "-".join([self.preset, *changed])


@dataclass(frozen=True)
class Experiment:
    """A conclusion, and what it says of variants."""

    concluded: str
    variants: Mapping[str, Variant]
    better: str | None = None  #: the variant that was found better; None: they were found alike


def _varied(preset: str, key: str, values: Sequence[Any]) -> dict[str, Variant]:
    return {f"{key} {value}": Variant(preset, {key: value}) for value in values}


EXPERIMENTS = {
    "components": Experiment(
        "the number of Gaussians does not matter", _varied("gmvae-small", "components", (1, 10, 100))
    ),
    "latent": Experiment(
        "the size of the latent does not matter", _varied("gmvae-small", "latent_dim", (8, 32, 128))
    ),
    "latent-vae": Experiment(
        "the size of the latent does not matter, of a plain VAE", _varied("cxr-vae-small", "latent_dim", (16, 128, 512))
    ),
    "transition": Experiment(
        "transition layers do not help", _varied("gmvae-small", "transition", (None, 300))
    ),
    "decoder": Experiment(
        "convolutional decoders are better",
        _varied("gmvae-small", "decoder", ("mlp", "transposed")),
        "decoder transposed",
    ),
    "adversary": Experiment(
        "a least-squares GAN draws better than a VAE",
        {"GAN": Variant("lsgan-small"), "VAE": Variant("cxr-vae-small")},
        "GAN",
    ),
}  # fmt: skip
#: --quick: networks that train in a second, at 32 pixels.
QUICK: dict[str, dict[str, Any]] = {
    "cxr-vae-small": {"widths": (4, 8)},
    "lsgan-small": {"widths": (8, 4, 4), "latent_dim": 8},
    "gmvae-small": {"features": "none", "widths": (4, 8)},
}
_QUICK_EDGE, _QUICK_BATCH = 32, 8


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
        training: dict[str, Any] = {"seed": seed, "epochs": epochs, **quiet}
        if not self.augment:
            training["augment"] = asdict(NO_AUGMENT)
        config = resolved_config(variant.preset, None, {"model": model, "training": training, "data": data})
        return with_conditions(config, self.shards)

    def real(self, split: str, config: TrainConfig) -> RealPatches:
        """Return patches of a split as models see them."""
        rows = rows_to_judge_on(self.shards, split, None, split == "train")
        data = config.data
        return read_patches(self.shards, rows, data.resolution, data.fit, self.num, schema=config.schema)

    def drawn(self, variant: Variant, seed: int, conditions: Codes) -> Patches:
        """Return draws of a variant by conditions, uint8 (n, R, R); train it where it is not yet."""
        config, folder = self.config(variant, seed), RunFolder(self.out / variant.folder / str(seed))
        with redirect_stdout(sys.stderr):
            train(config, self.shards, folder, self.device)
        model = registry.load_checkpoint(folder.best_model, self.device)
        sampler = SamplerChoice().open(model, folder.best_model)
        return np.stack(list(draw_patches(sampler, conditions, seed)))


def run(bench: Bench, experiments: Mapping[str, Experiment], seeds: int) -> dict[str, Any]:
    """Train and judge every variant with every seed; return the figures of each experiment and its verdict."""
    variants = {v.folder: v for experiment in experiments.values() for v in experiment.variants.values()}
    config = bench.config(next(iter(variants.values())))
    held_out, learnt = bench.real("test", config), bench.real("train", config)
    features = bench.extractor(held_out.pixels)

    def distance(patches: Patches) -> float:
        return frechet_distance(bench.extractor(patches), features)

    found = {
        folder: [distance(bench.drawn(variant, seed, held_out.conditions)) for seed in range(seeds)]
        for folder, variant in variants.items()
    }
    results: dict[str, Any] = {
        "held_out": len(held_out),
        "floor": distance(learnt.pixels[: len(held_out)]),
        "point_mass": distance(point_mass(learnt.pixels, len(held_out))),
    }
    for name, experiment in experiments.items():
        sides = {side: over_seeds(found[v.folder]) for side, v in experiment.variants.items()}
        results[name] = {
            "concluded": experiment.concluded,
            "frechet": sides,
            "verdict": verdict(experiment, sides),
        }
    return results


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of a figure over two seeds or more, with its interval of 95 % by Student's t."""
    mean, half = np.mean(values), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return {"mean": float(mean), "low": float(mean - half), "high": float(mean + half), "seeds": list(values)}


def verdict(experiment: Experiment, sides: Mapping[str, Mapping[str, Any]]) -> str:
    """Return in a sentence what distances of the variants, less is better, say of a conclusion."""
    best = min(sides, key=lambda side: float(sides[side]["mean"]))
    farther = [side for side in sides if sides[side]["low"] > sides[best]["high"]]
    if not farther:
        reading = "as" if experiment.better is None else "where one"
        return f"the intervals overlap: no difference shown, {reading} was concluded"
    reading = "as" if best == experiment.better else "against what"
    return (
        f"draws of {best} lie nearer to real patches than those of {listed(farther)}, {reading} was concluded"
    )


def chosen(names: Sequence[str], bench: Bench) -> dict[str, Experiment]:
    """Return experiments by name, once all of their variants are found to be trainable.

    Ends the program with a sentence where one is not.
    """
    for name in names:
        for variant in EXPERIMENTS[name].variants.values():
            try:
                bench.config(variant)
            except ConfigError as error:
                sys.exit(f"the experiment {name} needs {variant.preset}: {error}; choose others by --only")
    return {name: EXPERIMENTS[name] for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    """Test each conclusion, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches of 64 x 64 or more, with a test split")
    parser.add_argument("--out", type=Path, required=True, help="runs")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
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
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds is {options.seeds}; an interval over seeds needs two or more")
    device = choose_device(options.device)
    with open_shards(options.shards) as shards:
        features = extractor(options.extractor, device.type)
        sizes = (options.patches, options.num)
        bench = Bench(shards, options.out, *sizes, features, device, options.quick, not options.no_augment)
        found = run(bench, chosen(options.only, bench), options.seeds)
    said = {
        "patches": options.patches,
        "extractor": features.name,
        "quick": options.quick,
        "augment": not options.no_augment,
    }
    print(json.dumps({"benchmark": "conclusions", **said, **found}))


if __name__ == "__main__":
    main()
