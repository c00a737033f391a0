"""What each fault of the published systems costs: a small mended preset without it and with it. Prints JSON.

The published presets differ from the mended ones in many ways at once (benchmarks/zoo.py has both). Here one thing at a
time is put back as it was published, in the mended network, which sees as many patches, with several seeds. ``cost`` is
the Fréchet distance of draws with the fault less that without, of the same seed, with an interval of 95 % over the
seeds: a fault whose interval has 0 in it is not shown to cost anything, here and for so many patches.

    nlbs-preprocess build-shards --csv meta.csv --images images/ --out root/ --mode whole --resolution 64 \\
        --split 70/15/15
    python -m benchmarks.faults --shards root/whole-r64 --patches 50000 --seeds 3 --out faults/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.variants import Bench, Variant, call, distances, over_seeds

_AT_ONCE = {"kl_anneal_share": 0.0}
#: Mended preset -> fault in words -> the preset with it (docs/zoo.md says where each comes from).
FAULTS: dict[str, dict[str, Variant]] = {
    "vindr-vae-small": {
        "a tenth of the KL": Variant("vindr-vae-small", training={"loss": {"kl_weight": 0.1}}),
        "cross-entropy of greys, a tenth of the KL": Variant(
            "vindr-vae-small", {"likelihood": "bernoulli"}, {"loss": {"kl_weight": 0.1, **_AT_ONCE}}
        ),
    },
    "cxr-vae-small": {
        "a mean square and a summed KL": Variant(
            "cxr-vae-small", {"likelihood": "square"}, {"loss": {"kl_weight": 64 * 2e-3, **_AT_ONCE}}
        ),
        "means and log-variances through a LeakyReLU": Variant("cxr-vae-small", {"leaky_heads": True}),
    },
    "gmvae-small": {
        "a mean square of stretched greys and a summed KL": Variant(
            "gmvae-small", {"likelihood": "sigmoid"}, {"loss": _AT_ONCE}
        ),
        "a rate of 5e-3": Variant("gmvae-small", training={"learning_rate": 5e-3, "min_learning_rate": 5e-3}),
        "a mixture that is not placed": Variant("gmvae-small", training={"loss": {"mixture_share": 0.0}}),
    },
    "lsgan-small": {
        "three steps of the generator": Variant("lsgan-small", {"generator_steps": 3}),
        "real images in [0, 1], made ones in [-1, 1]": Variant("lsgan-small", {"mixed_ranges": True}),
        "BatchNorm in place of a penalty of the slope": Variant(
            "lsgan-small", {"batch_norm": True, "slope_penalty": 0.0}
        ),
    },
    "spatial-cvae-small": {
        "attention to a single token": Variant(
            "spatial-cvae-small", {"self_attention": False, "cross_attention": False}
        ),
        "half of a summed KL against a mean square": Variant(
            "spatial-cvae-small",
            training={"loss": {"kl_weight": 0.5 * 64 * 64}},  # its own is per pixel
        ),
    },
    "diffusion-small": {
        "a linear schedule": Variant("diffusion-small", {"schedule": "linear"}),
        "a quadratic schedule": Variant("diffusion-small", {"schedule": "quadratic"}),
        "no average of the weights": Variant("diffusion-small", training={"ema_decay": None}),
    },
}


def run(bench: Bench, presets: Sequence[str], seeds: int) -> dict[str, Any]:
    """Train and judge presets with each of their faults and without; return distances, and what each fault costs."""
    mended = {preset: Variant(preset) for preset in presets}
    faulty = [variant for preset in presets for variant in FAULTS[preset].values()]
    found = distances(bench, [*mended.values(), *faulty], seeds)
    results: dict[str, Any] = found.references()
    for preset, variant in mended.items():
        without = found.drawn[variant.folder]
        costs = {words: cost(without, found.drawn[other.folder]) for words, other in FAULTS[preset].items()}
        results[preset] = {"mended": over_seeds(without), "faults": costs}
    return results


def cost(without: Sequence[float], having: Sequence[float]) -> Mapping[str, Any]:
    """Return distances with a fault, and by how much each is more than that of the same seed without it."""
    more = [worse - better for better, worse in zip(without, having, strict=True)]
    return {"frechet": over_seeds(having), "cost": over_seeds(more)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Put each fault back, and print what that costs."""
    call("faults", __doc__, run, FAULTS, arguments)


if __name__ == "__main__":
    main()
