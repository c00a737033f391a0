"""Patches per second of several readers of the same patches: one process, warm cache. Prints one JSON line.

Batches of 64 patches with their conditions, in random order where the reader has one: this package's PatchStream over
tar and zarr shards, webdataset's decode pipeline over the tar shards (in order), zarr-python's z[i] over the zarr
shards, MosaicML StreamingDataset and litdata over shards of their own, each by its own or torch's DataLoader without
worker processes, and a bare numpy memmap gather of the same pixels in one file, which is about what memory allows.
The readers take turns; the median of the rounds counts, and only ratios do. A peer that is not installed is left out
and named; they are the extra "peers", which nothing else needs: pip install -c constraints.txt -e '.[peers]'.

    nlbs-preprocess phantom --out phantom/ --patients 8 --rows 1024 --columns 800
    nlbs-preprocess build-shards --csv phantom/meta.csv --images phantom/ --out root/ --resolution 256 --stride 48
    python benchmarks/loader.py --shards root/
"""

import argparse
import gc
import importlib.machinery
import importlib.metadata
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
import zarr
from torch.utils.data import DataLoader

from nlbs.manifests.schema import NLBS
from nlbs.preprocess.sets.convert import ConvertOptions, convert
from nlbs.shards import ShardSet, open_shards
from nlbs.train import PatchStream

BATCH = 64
SHARD_BYTES = 1 << 26  # of the peers' shards

Batches = Iterator[Any]


def ours(shards: ShardSet) -> Batches:
    """Yield batches of our own stream for ever, verified at first touch."""
    stream = PatchStream(shards, batch_size=BATCH, seed=0, split=None)
    while True:
        yield from stream


def with_webdataset(shards: ShardSet) -> Batches:
    """Yield batches of webdataset's decode pipeline for ever, in the order of the files."""
    urls = [str(shards.folder / shard["name"]) for shard in shards.info["shards"]]
    pipeline = webdataset.WebDataset(urls, shardshuffle=False).decode().to_tuple("npy", "json")
    while True:
        yield from pipeline.batched(BATCH, partial=False)


def with_mosaicml(shards: ShardSet, folder: Path) -> Batches:
    """Yield batches of MosaicML's StreamingDataset for ever, shuffled, from shards that it writes first."""
    _stand_in_for_torchvision()
    import streaming

    columns = {"pixels": f"ndarray:{shards.dtype}:{shards.resolution},{shards.resolution}"}
    columns |= dict.fromkeys(NLBS.names, "int8")
    with streaming.MDSWriter(out=str(folder), columns=columns, size_limit=SHARD_BYTES) as writer:
        for pixels, codes in patches(shards):
            writer.write({"pixels": pixels, **{name: np.int8(code) for name, code in codes.items()}})
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
    loader = DataLoader(dataset, batch_size=BATCH, drop_last=True)
    while True:
        yield from loader


def with_litdata(shards: ShardSet, folder: Path) -> Batches:
    """Yield batches of litdata's StreamingDataset for ever, shuffled, from chunks that it writes first."""
    import litdata
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes=SHARD_BYTES)
    for number, (pixels, codes) in enumerate(patches(shards)):
        writer[number] = {"pixels": torch.from_numpy(pixels), **codes}
    writer.done()
    writer.merge(1)
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0)
    while True:
        yield from loader


def patches(shards: ShardSet) -> Iterator[tuple[np.ndarray[Any, Any], dict[str, int]]]:
    """Yield each patch and its condition codes."""
    for row in range(len(shards)):
        yield shards.read([row])[0], {name: int(code[0]) for name, code in shards.conditions([row]).items()}


def with_zarr(shards: ShardSet) -> Batches:
    """Yield batches that zarr-python reads patch by patch."""
    arrays = [zarr.open_array(str(shards.folder / s["name"]), mode="r") for s in shards.info["shards"]]
    counts = [shard["patches"] for shard in shards.info["shards"]]
    array = np.repeat(np.arange(len(counts)), counts)
    row_in_it = np.concatenate([np.arange(count) for count in counts])
    for rows in random_rows(len(shards)):
        yield np.stack([arrays[array[row]][int(row_in_it[row])] for row in rows]), shards.conditions(rows)


def with_memmap(path: Path, shards: ShardSet) -> Batches:
    """Yield batches gathered from one file of nothing but pixels."""
    pixels = np.load(path, mmap_mode="r")
    for rows in random_rows(len(shards)):
        yield pixels[rows], shards.conditions(rows)


def random_rows(count: int) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Yield the rows of batches, epoch after epoch, each another permutation."""
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(count)
        yield from (order[i : i + BATCH] for i in range(0, count - BATCH + 1, BATCH))


def rate(batches: Batches, seconds: float) -> float:
    """Return patches per second over at least so many seconds, from a batch that was waited for on."""
    next(batches)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        done += BATCH
    return done / (time.perf_counter() - start)


def measured(shards: ShardSet, folder: Path) -> tuple[dict[str, Callable[[], Batches]], dict[str, str]]:
    """Lay the same patches out for every reader.

    Returns:
        Reader -> what gives its batches; peer that cannot be measured -> why.
    """
    as_zarr = open_shards(convert(shards.folder, ConvertOptions("zarr", out=folder / "zarr")).folder)
    flat = folder / "pixels.npy"
    np.save(flat, shards.read(shards.rows()))
    as_zarr.read(as_zarr.rows())  # checked once, as in a second epoch
    makers: dict[str, Callable[[], Batches]] = {
        "ours, tar": lambda: ours(shards),
        "ours, zarr": lambda: ours(as_zarr),
        "webdataset": lambda: with_webdataset(shards),
        "zarr-python": lambda: with_zarr(as_zarr),
        "mosaicml-streaming": lambda: with_mosaicml(shards, folder / "mosaicml"),
        "litdata": lambda: with_litdata(shards, folder / "litdata"),
        "numpy memmap": lambda: with_memmap(flat, shards),
    }
    missing = {}
    for peer in ("mosaicml-streaming", "litdata"):
        try:
            importlib.metadata.version(peer)
        except importlib.metadata.PackageNotFoundError:
            missing[peer] = "not installed"
            del makers[peer]
    return makers, missing


def main() -> None:
    """Warm all readers and measure them in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, help="a set of tar shards without compression")
    parser.add_argument("--seconds", type=float, default=2.0, help="per reader and round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, open_shards(options.shards) as tar:
        makers, missing = measured(tar, Path(scratch))
        readers = {name: make() for name, make in makers.items()}
        for reader in readers.values():
            rate(reader, options.seconds / 2)
        rounds = []
        for _ in range(options.rounds):
            gc.collect()
            rounds.append({name: rate(reader, options.seconds) for name, reader in readers.items()})
        ratios = {
            name: sorted(found["ours, tar"] / found[name] for found in rounds)
            for name in readers
            if name != "ours, tar"
        }
        rates = {name: round(statistics.median(found[name] for found in rounds)) for name in readers}
        print(
            json.dumps(
                {
                    "benchmark": "loader",
                    "patches": len(tar),
                    "patch_bytes": tar.resolution**2 * tar.dtype.itemsize,
                    "patches_per_second": rates,
                    # Of each round by itself: its readers had the same machine.
                    "ours_tar_over": {name: round(statistics.median(r), 2) for name, r in ratios.items()},
                    "lowest_and_highest": {
                        name: [round(r[0], 2), round(r[-1], 2)] for name, r in ratios.items()
                    },
                    "not_measured": missing,
                }
            )
        )


def _stand_in_for_torchvision() -> None:
    """Let MosaicML's package be imported where torchvision, of which nothing is used here, is none for this torch."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in ("", ".datasets", ".transforms", ".transforms.functional"):
            module = types.ModuleType(f"torchvision{name}")
            module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
            module.__dict__.update(VisionDataset=object, to_tensor=None)
            sys.modules[module.__name__] = module


if __name__ == "__main__":
    main()
