"""What the chest X-ray zoo concluded and never tested: trains each side on as many patches. Prints JSON with verdicts.

Its five conclusions (docs/zoo.md), by one experiment or two: more Gaussians, larger latents, transition layers do not
help; convolutional decoders do; a GAN draws better than a VAE. Each variant is trained as nlbs-train does, with several
seeds, and its draws by the conditions of held-out patches are compared with these by the Fréchet distance, beside floor
and point mass. Intervals of 95 % are over the seeds (Student's t): variants whose intervals overlap are not shown to
differ. A run that is there is taken as it is, so an interrupted call goes on.

    nlbs-preprocess build-shards --csv meta.csv --images images/ --out root/ --mode whole --resolution 64 \\
        --split 70/15/15
    python -m benchmarks.conclusions --shards root/whole-r64 --patches 50000 --seeds 5 --out conclusions/
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.variants import Bench, Variant, call, distances, over_seeds

from nlbs.errors import ConfigError
from nlbs.text import listed


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


def run(bench: Bench, names: Sequence[str], seeds: int) -> dict[str, Any]:
    """Train and judge every variant with every seed; return the figures of each experiment and its verdict."""
    experiments = chosen(names, bench)
    variants = [variant for experiment in experiments.values() for variant in experiment.variants.values()]
    found = distances(bench, variants, seeds)
    results: dict[str, Any] = found.references()
    for name, experiment in experiments.items():
        sides = {side: over_seeds(found.drawn[v.folder]) for side, v in experiment.variants.items()}
        results[name] = {
            "concluded": experiment.concluded,
            "frechet": sides,
            "verdict": verdict(experiment, sides),
        }
    return results


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
    call("conclusions", __doc__, run, EXPERIMENTS, arguments)


if __name__ == "__main__":
    main()
