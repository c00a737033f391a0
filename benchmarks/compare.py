"""Which preset draws best for its minutes, and which for its patches? Seeds and shard sets. Prints one JSON line.

Each preset is trained twice for each seed and set: on as many patches as two cores see in ``--minutes``, and on
``--patches``; half of either is for its flow, where it has one. All runs of one seed, set and budget are then judged
side by side by nlbs-evaluate compare. What is done is kept in ``--out``, and not done again.

    python -m benchmarks.compare --shards cbis/whole-r64 phantoms/r64-s13-1.2mm --out compare/
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from benchmarks.zoo import PAIRS, has_flow, nlbs, plan, rates_of, train

from nlbs.shards import open_shards

#: Of compare.json, and shown for each preset.
FIGURES = (
    *("frechet", "frechet_floor", "frechet_point_mass", "precision", "recall", "coverage"),
    *("exponent", "exponent_real", "top_octave", "seconds_per_1000", "psnr_db"),
)
MOST_TAKEN = 1.25  #: of a budget, before it is said
Plan = Mapping[str, int]
SECTIONS = "galleries,reconstruction,realism,control,memorisation"


def plan_of_patches(preset: str, patches: int, split: int) -> dict[str, int]:
    """Return how many epochs of a training split, and latents, make so many patches in all."""
    shares = 2 if has_flow(preset) else 1
    epochs = max(1, round(patches / shares / split))
    return {"epochs": epochs} | ({"latents": patches // 2} if shares == 2 else {})


def share_of_minutes(
    todo: Mapping[str, int], rates: Mapping[str, float], minutes: float, split: int
) -> float:
    """Return how much of its minutes a plan takes: epochs are whole, and one is the least."""
    seconds = todo["epochs"] * split / rates["model"]
    seconds += todo["latents"] / rates["flow"] if "latents" in todo else 0
    return round(seconds / (60 * minutes), 2)


def share_of_patches(todo: Mapping[str, int], patches: int, split: int) -> float:
    """Return how many of its patches a plan sees, as a share."""
    return round((todo["epochs"] * split + todo.get("latents", 0)) / patches, 2)


def plans(
    shards: str, options: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Plan], dict[str, float]]]:
    """Yield each budget's name, what each preset does within it on one shard set, and the share that this takes."""
    with open_shards(shards) as opened:
        split = len(opened.rows("train", options.where))
    kept: Path = options.out / "rates.json"
    rates = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for preset in options.presets:
        if preset not in rates:
            rates[preset] = rates_of(preset, shards, options.out, options.cores)
            kept.write_text(json.dumps(rates) + "\n", encoding="utf-8")
    todo = {one: plan(rates[one], options.minutes, split) for one in options.presets}
    taken = {one: share_of_minutes(todo[one], rates[one], options.minutes, split) for one in todo}
    yield f"{options.minutes:g} minutes", todo, taken
    todo = {one: plan_of_patches(one, options.patches, split) for one in options.presets}
    taken = {one: share_of_patches(todo[one], options.patches, split) for one in todo}
    yield f"{options.patches} patches", todo, taken


def judged(
    shards: str, folder: Path, todo: Mapping[str, Mapping[str, int]], seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train all presets of one budget with one seed, put them side by side, and return each one's figures."""
    more = ["--seed", seed, *(["--where", options.where] if options.where else [])]
    more += ["--no-augment"] if options.no_augment else []
    runs, failed = [], {}
    for preset, planned in todo.items():
        run = folder / preset
        print(f"{run}: {planned}", file=sys.stderr)
        try:
            # A finished run ends at once, and a stopped one continues.
            train(preset, shards, planned, run, options.device, *more)
        except CalledProcessError as error:
            failed[preset] = f"exit code {error.returncode}"
        else:
            runs.append(run)
    nlbs("evaluate", "compare", *runs, "--shards", shards, "--out", folder / "compare", "--num", options.num,
         "--only", options.only, "--device", options.device)  # fmt: skip
    found = json.loads((folder / "compare" / "compare.json").read_text(encoding="utf-8"))["sections"]
    models = found["comparison"]["models"]
    return {name: models[name]["figures"] for name in models} | {
        name: {"failed": why} for name, why in failed.items()
    }


def over_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean, the least and the largest value of each figure over the seeds of one preset."""
    summary: dict[str, Any] = {}
    for figure in FIGURES:
        values = [value for run in runs if (value := _value(run.get(figure))) is not None]
        if values:
            summary[figure] = {
                "mean": round(statistics.mean(values), 3),
                "least": round(min(values), 3),
                "largest": round(max(values), 3),
                "seeds": len(values),
            }
    failed = [run["failed"] for run in runs if "failed" in run]
    return summary | ({"failed": failed} if failed else {})


def _value(figure: Any) -> float | None:
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return None if value is None else float(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and compare all presets, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", nargs="+", required=True, help="sets of 64 x 64 with a test split")
    parser.add_argument("--out", type=Path, required=True, help="runs, reports and results")
    parser.add_argument("--presets", nargs="+", default=list(PAIRS))
    parser.add_argument("--minutes", type=float, default=20.0, help="of two cores, for each preset in all")
    parser.add_argument("--patches", type=int, default=100_000, help="for each preset in all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs=2, default=(0, 1), help="where rates are measured")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--num", type=int, default=1000, help="held-out patches, and as many drawn")
    parser.add_argument("--only", default=SECTIONS, help="parts that are measured")
    parser.add_argument("--where", help="train on some patches alone")
    parser.add_argument(
        "--no-augment", action="store_true", help="for images that are all turned to one side"
    )
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"benchmark": "compare", "device": options.device, "sets": {}}
    for number, shards in enumerate(options.shards):
        budgets = result["sets"].setdefault(shards, {})
        for budget, todo, taken in plans(shards, options):
            if most := {one: share for one, share in taken.items() if share > MOST_TAKEN}:
                said = f"whole epochs take more than {budget}, as shares of these: {most}; cut fewer patches"
                print(f"{shards}: {said}", file=sys.stderr)
            folder = options.out / f"set-{number}" / budget.replace(" ", "-")
            seeds = [
                judged(shards, folder / f"seed-{seed}", todo, seed, options) for seed in range(options.seeds)
            ]
            budgets[budget] = {
                preset: {"plan": todo[preset], "share_of_budget": taken[preset]}
                | over_seeds([one[preset] for one in seeds if preset in one])
                for preset in todo
            }
            (options.out / "compare.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
