"""Whether the spatial term of spatial-cvae makes neighbouring patches agree better. Prints one JSON line.

Trains spatial-cvae-small with the term and without it (training.loss.spatial_weight: 0), from the same seeds on the
same patches, and measures what ``nlbs-generate --grid position`` measures, on patients that are held out: the mean
|difference| in grey levels where neighbours overlap, of reconstructions and of draws from one noise.

    nlbs-preprocess build-shards --csv meta.csv --out root/ --resolution 64 --stride 32
    python -m benchmarks.seams --shards root/r64-s32 --patches 40000 --seeds 0 1 2 --out seams/

The interval is over patients, of the mean over seeds. The term lowers (raises) the error where the interval, and the
difference of each seed, lies on that side of 0. A blurred image has few seams: ``error`` is that of reconstructions.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.generative import train
from benchmarks.variants import QUICK

from nlbs.evaluate.measures.intervals import mean_interval
from nlbs.generate.latents import reconstruct
from nlbs.generate.position_grid import breasts_of, drawn_by_place
from nlbs.generate.real import read_real
from nlbs.generate.seams import neighbours, places_of, seam_errors
from nlbs.models.drawing import OwnSampler, to_uint8
from nlbs.models.registry import load_checkpoint
from nlbs.shards import open_shards
from nlbs.shards.format.manifest import indices

PRESET = "spatial-cvae-small"
#: what is compared -> what the YAML says then
WEIGHTS: dict[str, dict[str, Any]] = {
    "with": {},
    "without": {"training": {"loss": {"spatial_weight": 0.0}}},
}


def judge(checkpoint: Path, folder: str, breasts: int, split: str) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """Return errors of seams (pairs,) by what they are of and that of reconstructions; the patient of each pair."""
    model = load_checkpoint(checkpoint, torch.device("cpu"))
    with open_shards(folder) as shards:
        places = places_of(shards.manifest)
        rows, breast = breasts_of(places.image, shards.rows(split), breasts, seed=0)
        pixels, codes = read_real(shards, rows, model, model.device, "downsample")
        patients = indices(shards.manifest["patient"]).to_numpy()[rows]
    pairs = neighbours(places.at(rows), model.resolution)
    real, rebuilt = to_uint8(pixels), to_uint8(reconstruct(model, pixels, codes))
    values = {name: column.numpy() for name, column in codes.items()}
    drawn, again = drawn_by_place(OwnSampler(model), values, breast, seed=0)
    found = {
        "reconstructed": seam_errors(rebuilt, rebuilt, pairs),
        "drawn": seam_errors(drawn, drawn, pairs),
        "drawn_other_noise": seam_errors(drawn, again, pairs),
    }
    found["error"] = float(np.abs(real.astype(np.float64) - rebuilt).mean())
    return found, patients[pairs.first]


def compared(runs: dict[str, list[dict[str, Any]]], patients: npt.NDArray[Any]) -> dict[str, Any]:
    """Return what the term does to each kind of seams.

    Args:
        runs: "with" and "without" -> of each seed what :func:`judge` gives.
        patients: of each pair.
    """
    found: dict[str, Any] = {
        "error": {name: [round(run["error"], 3) for run in of_seeds] for name, of_seeds in runs.items()}
    }
    for kind in ("reconstructed", "drawn", "drawn_other_noise"):
        errors = {name: np.stack([run[kind] for run in of_seeds]) for name, of_seeds in runs.items()}
        apart = errors["with"] - errors["without"]
        interval, of_seeds = mean_interval(apart.mean(axis=0), patients), apart.mean(axis=1)
        low, high = (np.nan if end is None else end for end in (interval.low, interval.high))
        verdict = "no difference shown"
        if high < 0 and (of_seeds < 0).all():
            verdict = "the term lowers it"
        elif low > 0 and (of_seeds > 0).all():
            verdict = "the term raises it"
        found[kind] = {
            **{name: round(float(values.mean()), 3) for name, values in errors.items()},
            "difference": {"value": round(interval.value, 3), "low": interval.low, "high": interval.high},
            "difference_of_seeds": of_seeds.round(3).tolist(),
            "verdict": verdict,
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both ways from each seed, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="patches that overlap, with a test split")
    parser.add_argument("--out", type=Path, required=True, help="runs")
    parser.add_argument("--patches", type=int, default=40_000, help="seen in training, at least")
    parser.add_argument("--breasts", type=int, default=100, help="of held-out patients")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--quick", action="store_true", help="tiny networks: shows that it runs, and nothing else"
    )
    options = parser.parse_args(arguments)
    with open_shards(options.shards) as shards:
        size = {"resolution": shards.resolution, **({"batch_size": 4} if options.quick else {})}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in WEIGHTS}
    for seed in options.seeds:
        for name, weight in WEIGHTS.items():
            changes = {**weight, "data": size, **({"model": QUICK[PRESET]} if options.quick else {})}
            checkpoint = train(
                options.shards,
                PRESET,
                options.patches,
                options.out / f"{name}-{seed}",
                changes,
                "--seed",
                seed,
            )
            errors, patients = judge(checkpoint, options.shards, options.breasts, options.split)
            runs[name].append(errors)
    said = {"benchmark": "seams", "patches": options.patches, "seeds": options.seeds, "pairs": len(patients)}
    print(json.dumps({**said, **compared(runs, patients)}))


if __name__ == "__main__":
    main()
