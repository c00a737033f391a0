"""Patches per second of several readers of the same patches: one process, warm cache. Prints one JSON line.

Batches of 64 patches with their conditions, in random order where the reader has one: this package's PatchStream over
tar and zarr shards, webdataset's decode pipeline over the tar shards (in order), zarr-python's z[i] over the zarr
shards, and a bare numpy memmap gather of the same pixels in one file, which is about what memory allows.
The readers take turns; the median of the rounds counts, and only ratios do.

    nlbs-preprocess phantom --out phantom/ --patients 8 --rows 1024 --columns 800
    nlbs-preprocess build-shards --csv phantom/meta.csv --images phantom/ --out root/ --resolution 256 --stride 48
    python benchmarks/loader.py --shards root/
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
import zarr

from nlbs.preprocess.convert import ConvertOptions, convert
from nlbs.shards import ShardSet, open_shards
from nlbs.train import PatchStream

BATCH = 64

Batches = Iterator[Any]


def ours(shards: ShardSet) -> Batches:
    """Gives batches of our own stream for ever, verified at first touch."""
    stream = PatchStream(shards, batch_size=BATCH, seed=0, split=None)
    while True:
        yield from stream


def with_webdataset(shards: ShardSet) -> Batches:
    """Gives batches of webdataset's decode pipeline for ever, in the order of the files."""
    urls = [str(shards.folder / shard["name"]) for shard in shards.info["shards"]]
    pipeline = webdataset.WebDataset(urls, shardshuffle=False).decode().to_tuple("npy", "json")
    while True:
        yield from pipeline.batched(BATCH, partial=False)


def with_zarr(shards: ShardSet) -> Batches:
    """Gives batches that zarr-python reads patch by patch."""
    arrays = [zarr.open_array(str(shards.folder / s["name"]), mode="r") for s in shards.info["shards"]]
    counts = [shard["patches"] for shard in shards.info["shards"]]
    array = np.repeat(np.arange(len(counts)), counts)
    row_in_it = np.concatenate([np.arange(count) for count in counts])
    for rows in random_rows(len(shards)):
        yield np.stack([arrays[array[row]][int(row_in_it[row])] for row in rows]), shards.conditions(rows)


def with_memmap(path: Path, shards: ShardSet) -> Batches:
    """Gives batches gathered from one file of nothing but pixels."""
    pixels = np.load(path, mmap_mode="r")
    for rows in random_rows(len(shards)):
        yield pixels[rows], shards.conditions(rows)


def random_rows(count: int) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Gives the rows of batches, epoch after epoch, each another permutation."""
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(count)
        yield from (order[i : i + BATCH] for i in range(0, count - BATCH + 1, BATCH))


def rate(batches: Batches, seconds: float) -> float:
    """Gives patches per second over at least so many seconds."""
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        done += BATCH
    return done / (time.perf_counter() - start)


def main() -> None:
    """Lays the same patches out for every reader, warms all of them, and measures them in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="a set of tar shards without compression")
    parser.add_argument("--seconds", type=float, default=2.0, help="per reader and round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, open_shards(options.shards) as tar:
        folder = Path(scratch)
        as_zarr = open_shards(convert(tar.folder, ConvertOptions("zarr", out=folder / "zarr")).folder)
        flat = folder / "pixels.npy"
        np.save(flat, tar.read(tar.rows()))
        as_zarr.read(as_zarr.rows())  # checked once, as in a second epoch
        makers: dict[str, Callable[[], Batches]] = {
            "ours, tar": lambda: ours(tar),
            "ours, zarr": lambda: ours(as_zarr),
            "webdataset": lambda: with_webdataset(tar),
            "zarr-python": lambda: with_zarr(as_zarr),
            "numpy memmap": lambda: with_memmap(flat, tar),
        }
        readers = {name: make() for name, make in makers.items()}
        for reader in readers.values():
            rate(reader, options.seconds / 4)
        rounds = [
            {name: rate(reader, options.seconds) for name, reader in readers.items()}
            for _ in range(options.rounds)
        ]
        rates = {name: statistics.median(found[name] for found in rounds) for name in readers}
        print(
            json.dumps(
                {
                    "patches": len(tar),
                    "patch_bytes": tar.resolution**2 * tar.dtype.itemsize,
                    "patches_per_second": {name: round(value) for name, value in rates.items()},
                    "ours_tar_over": {
                        name: round(rates["ours, tar"] / value, 2)
                        for name, value in rates.items()
                        if name != "ours, tar"
                    },
                }
            )
        )


if __name__ == "__main__":
    main()
