"""Batches per second that each order of samples names, at n = 10^8 patches; no pixel is read. Prints one JSON line."""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from nlbs.shards.order.order import ORDERS
from nlbs.shards.order.sampling import Strata, Stratum
from nlbs.shards.order.window import Window


def batches_per_second(rows_of: Callable[[int], object], steps: int) -> float:
    """Return how many batches a second ``rows_of`` names, at steps far apart, after one that fills the tables."""
    rows_of(0)
    start = time.perf_counter()
    for step in range(steps):
        rows_of(step * 997)
    return steps / (time.perf_counter() - start)


def main() -> None:
    """Measure the three orders, and strata of 12 classes and of 1000."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=10**8)
    parser.add_argument("--shards", type=int, default=10**4)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    n, size = options.patches, options.batch_size
    sizes = np.diff(np.linspace(0, n, options.shards + 1).astype(np.int64))
    places = np.arange(size)
    found = {}
    for name, make in ORDERS.items():
        order = make(sizes, 0, Window())
        found[name] = batches_per_second(
            lambda step, order=order: order(0, step * size + places), options.steps
        )
    rows = np.arange(n)
    for classes in (12, 1000):
        weights = np.linspace(1, 4, classes)
        parts = np.array_split(rows, classes)
        strata = Strata(
            [Stratum(str(k), part, np.array([len(part)]), weights[k]) for k, part in enumerate(parts)],
            "global", size, n // size, 0, Window(),
        )  # fmt: skip
        found[f"balance of {classes}"] = batches_per_second(
            lambda step, strata=strata: strata.rows(0, step, places),
            options.steps,
        )
    rates = {name: round(rate) for name, rate in found.items()}
    print(json.dumps({"patches": n, "batch_size": size, "batches_per_second": rates}))


if __name__ == "__main__":
    main()
