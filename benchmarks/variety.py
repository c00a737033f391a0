"""What keeps lsgan-small from drawing one shape: variety of draws with and without each part. Prints one JSON line.

    nlbs-preprocess build-shards --csv meta.csv --out root/ --mode whole --resolution 64
    python -m benchmarks.variety --shards root/whole-r64 --patches 38400 --out variety/

Of as many draws as there are held-out images, at their conditions: recall, coverage, precision, Fréchet distance, and
the mean |difference| of one draw and the next in grey levels, beside those of training images (``floor``).
``--edge 32`` halves images and leaves the widest maps out, for a try of minutes.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.generative import train

from nlbs.evaluate.measures.arrays import Patches
from nlbs.evaluate.measures.distances import frechet_distance, precision_recall
from nlbs.evaluate.measures.features import DEFAULT_EXTRACTOR, FeatureExtractor, extractor
from nlbs.generate.real import read_real
from nlbs.models.drawing import OwnSampler, draw_patches, to_uint8
from nlbs.models.registry import load_checkpoint
from nlbs.shards import open_shards

PRESET = "lsgan-small"
#: what is changed -> what the YAML says then
VARIANTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no slope penalty": {"model": {"slope_penalty": 0.0}},
    "published rate": {"training": {"learning_rate": 2e-4, "min_learning_rate": 2e-4}},
    "published discriminator": {"model": {"slope_penalty": 0.0, "batch_norm": True}},
}


def changes_of(name: str, edge: int) -> dict[str, Any]:
    """Return what the YAML of a variant says at an edge of images: 64, or 32."""
    small = {"widths": [128, 64, 32]} if edge == 32 else {}
    variant = VARIANTS[name]
    return {**variant, "model": {**variant.get("model", {}), **small}, "data": {"resolution": edge}}


def variety(real: Patches, drawn: Patches, features: FeatureExtractor) -> dict[str, float]:
    """Return figures of drawn patches beside as many real ones, (n, R, R) uint8 each."""
    ours, theirs = features(real), features(drawn)
    found = precision_recall(ours, theirs)
    apart = np.abs(drawn[1:].astype(np.float64) - drawn[:-1]).mean()
    figures = (found.recall, found.coverage, found.precision, frechet_distance(ours, theirs), apart)
    names = ("recall", "coverage", "precision", "frechet", "next_difference")
    return {name: round(float(value), 3) for name, value in zip(names, figures, strict=True)}


def judge(checkpoint: Path, folder: str, num: int, features: FeatureExtractor) -> dict[str, dict[str, float]]:
    """Return figures of draws, of the mean held-out image in place of each draw, and of training images."""
    model = load_checkpoint(checkpoint, torch.device("cpu"))
    choice = np.random.default_rng(0)
    with open_shards(folder) as shards:
        held = np.concatenate([np.asarray(shards.rows(split)[:]) for split in ("val", "test")])
        rows = choice.permutation(held)[:num]
        others = choice.permutation(np.asarray(shards.rows("train")[:]))[: len(rows)]
        pixels, codes = read_real(shards, rows, model, model.device, "downsample")
        seen, _ = read_real(shards, others, model, model.device, "downsample")
    real = to_uint8(pixels)
    values = {name: column.numpy() for name, column in codes.items()}
    sets = {
        "drawn": np.stack(list(draw_patches(OwnSampler(model), values, seed=0))),
        "point_mass": np.repeat(real.mean(axis=0, keepdims=True).astype(np.uint8), len(real), axis=0),
        "floor": to_uint8(seen),
    }
    return {name: variety(real, patches, features) for name, patches in sets.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train each variant, and print how its draws vary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="images of 64 x 64, with val and test splits")
    parser.add_argument("--out", type=Path, required=True, help="runs")
    parser.add_argument("--patches", type=int, default=80_000, help="seen in training, at least")
    parser.add_argument("--num", type=int, default=250, help="held-out images, at most, and as many draws")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--edge", type=int, choices=(32, 64), default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR)
    options = parser.parse_args(arguments)
    features = extractor(options.extractor)
    said = {name: getattr(options, name) for name in ("patches", "edge", "seed")}
    found: dict[str, Any] = {"benchmark": "variety", **said, "extractor": features.name}
    for name in options.only:
        folder, changes = options.out / name.replace(" ", "-"), changes_of(name, options.edge)
        # Flips would show the left side of the table on the right, which no held-out image has.
        checkpoint = train(
            options.shards, PRESET, options.patches, folder, changes, "--seed", options.seed, "--no-augment"
        )
        found[name] = judge(checkpoint, options.shards, options.num, features)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
