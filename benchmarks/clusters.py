"""Whether gmvae-small finds clusters that are known: adjusted Rand index, beside k-means of the pixels. Prints JSON.

    python -m benchmarks.clusters --epochs 40 --seeds 3

Patches are made here: each is one of some coarse patterns under noise, of another brightness and shifted by some
pixels; with --shapes one of five shapes instead that move about, grow and brighten, which are no clusters of pixels.
Half of the patches are held out: the index is of those.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from scipy.cluster.vq import kmeans2
from scipy.special import comb

from nlbs.models import registry
from nlbs.models.contract import Clusters
from nlbs.train.cli import main as train
from tests.shards.conftest import make_shard_set

Kinds = npt.NDArray[np.int64]


def adjusted_rand(true: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Return the adjusted Rand index of two partitions: 1 where they agree, 0 as by chance (Hubert and Arabie 1985)."""
    table = np.zeros((np.max(true) + 1, np.max(found) + 1))
    np.add.at(table, (np.asarray(true), np.asarray(found)), 1)
    together, rows, columns = (float(comb(n, 2).sum()) for n in (table, table.sum(axis=1), table.sum(axis=0)))
    chance = rows * columns / float(comb(table.sum(), 2))
    return (together - chance) / ((rows + columns) / 2 - chance)


def patterns(count: int, kinds: int, edge: int, seed: int) -> tuple[npt.NDArray[np.uint8], Kinds]:
    """Return patches (count, edge, edge) of coarse patterns, and which it is of each."""
    generator = np.random.default_rng(seed)
    coarse = np.random.default_rng(0).uniform(0.1, 1, (kinds, 4, 4))
    coarse = coarse.repeat(edge // 4, axis=1).repeat(edge // 4, axis=2)
    kind = generator.integers(kinds, size=count)
    shifts = generator.integers(-edge // 32, edge // 32 + 1, (count, 2))
    moved = [np.roll(coarse[k], shift, (0, 1)) for k, shift in zip(kind, shifts, strict=True)]
    return noisy(np.stack(moved) * generator.uniform(0.6, 1, (count, 1, 1)), generator), kind


def shapes(count: int, kinds: int, edge: int, seed: int) -> tuple[npt.NDArray[np.uint8], Kinds]:
    """Return patches of blob, ring, bar, beam and cross, anywhere near the middle, and which it is of each."""
    generator, kind = np.random.default_rng(seed), np.random.default_rng(seed + 1).integers(kinds, size=count)
    x, y = (
        axis / edge - 0.5 + generator.uniform(-0.12, 0.12, (count, 1, 1)) for axis in np.mgrid[:edge, :edge]
    )
    size = generator.uniform(0.18, 0.26, (count, 1, 1))
    far, bar, beam = np.hypot(x, y), np.abs(x) < size / 3, np.abs(y) < size / 3
    every = np.stack([far < size, np.abs(far - size) < 0.06, bar, beam, bar | beam])
    chosen = every[kind % 5, np.arange(count)]
    return noisy(0.15 + 0.7 * chosen * generator.uniform(0.5, 1, (count, 1, 1)), generator), kind % 5


def noisy(images: npt.NDArray[np.float64], generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return images in [0, 1] as grey values under noise, none of them air."""
    grey = 220 * images + generator.normal(0, 12, images.shape)
    return grey.round().clip(1, 255).astype(np.uint8)


def trained(folder: Path, edge: int, seed: int, options: argparse.Namespace) -> Path:
    """Train gmvae-small on the set of a folder; return its checkpoint."""
    changes: dict[str, Any] = {
        "model": {"components": options.kinds},
        "training": {"epochs": options.epochs, "seed": seed, "ema_decay": None, "samples_every_steps": 10**6},
        "data": {"resolution": edge},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(changes))
    call = ["--shards", folder / "set", "--preset", "gmvae-small", "--config", folder / "run.yaml"]
    try:
        train([str(part) for part in (*call, "--device", "cpu", "--run", folder / f"run-{seed}")])
    except SystemExit as left:
        if left.code:
            raise
    return folder / f"run-{seed}" / "last_model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", action="store_true", help="shapes that move about, in place of patterns")
    parser.add_argument("--kinds", type=int, default=5)
    parser.add_argument("--patches", type=int, default=2048)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    edge, half = options.resolution, options.patches // 2
    pixels, kind = (shapes if options.shapes else patterns)(options.patches, options.kinds, edge, seed=1)
    flat = pixels.reshape(len(pixels), -1).astype(float)
    figures: dict[str, Any] = {**vars(options), "k_means_of_pixels": [], "gmvae": [], "components_used": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        splits = ["train"] * half + ["test"] * (options.patches - half)
        make_shard_set(folder / "set", options.patches, edge, pixels=pixels, columns={"split": splits})
        held_out = torch.from_numpy(pixels[half:]).unsqueeze(1) / 127.5 - 1
        for seed in range(options.seeds):
            centres = kmeans2(flat[:half], options.kinds, minit="++", rng=seed)[0]
            nearest = ((flat[half:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
            model = registry.load_checkpoint(trained(folder, edge, seed, options))
            assert isinstance(model, Clusters)
            codes = {n: torch.from_numpy(v) for n, v in model.schema.unknown(len(held_out)).items()}
            with torch.no_grad():
                found = model.responsibilities(held_out, codes).argmax(dim=1).numpy()
            figures["k_means_of_pixels"].append(round(adjusted_rand(kind[half:], nearest), 3))
            figures["gmvae"].append(round(adjusted_rand(kind[half:], found), 3))
            figures["components_used"].append(len(np.unique(found)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
