"""What bfloat16 gives and costs: the zoo's small presets trained in it and in float32. Prints one JSON line.

Each preset sees as many patches in either precision, with several seeds. ``cost`` is the Fréchet distance of draws in
bfloat16 less that in float32, of the same seed, with an interval of 95 % over the seeds; ``times_as_fast`` the patches
per second of training in bfloat16 over those in float32, each the median over all epochs of all seeds. A processor
without instructions for bfloat16 imitates it, and gives less than 1 (the presets say ``precision: auto``).

    nlbs-preprocess build-shards --csv meta.csv --images images/ --out root/ --mode whole --resolution 64 \\
        --split 70/15/15
    python -m benchmarks.precision --shards root/whole-r64 --patches 18000 --seeds 3 --out precision/
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.faults import FAULTS, cost
from benchmarks.variants import Bench, Variant, call, distances

from nlbs.train.run_folder import RunFolder

_IN = {name: {"precision": name} for name in ("float32", "bfloat16")}


def run(bench: Bench, presets: Sequence[str], seeds: int) -> dict[str, Any]:
    """Train and judge presets in both precisions; return distances, what bfloat16 costs, and what it gives."""
    pairs = {
        preset: {name: Variant(preset, training=training) for name, training in _IN.items()}
        for preset in presets
    }
    found = distances(bench, [variant for pair in pairs.values() for variant in pair.values()], seeds)
    results: dict[str, Any] = found.references()
    for preset, pair in pairs.items():
        full, half = (found.drawn[pair[name].folder] for name in _IN)
        rates = [patches_per_second(bench, pair[name], seeds) for name in _IN]
        results[preset] = {"float32": list(full), **cost(full, half), "times_as_fast": rates[1] / rates[0]}
    return results


def patches_per_second(bench: Bench, variant: Variant, seeds: int) -> float:
    """Return the median of what the runs of a variant say of each epoch."""
    return statistics.median(
        rate for seed in range(seeds) for rate in _rates(bench.run_folder(variant, seed))
    )


def _rates(folder: RunFolder) -> Iterator[float]:
    for line in folder.metrics.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["kind"] == "speed":
            yield row["patches_per_s"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train in both precisions, and print what differs."""
    call("precision", __doc__, run, FAULTS, arguments)


if __name__ == "__main__":
    main()
