"""Opening a very large shard set: seconds and memory until the first batch, new and resumed. Prints one JSON line.

Makes a manifest of as many rows as asked, 10^8 of which take 6 GB, with the columns, types and mixed splits of the
product, over shards that are holes: files of the right size without a block on the disk, whose patches are zeros and
have the checksum of zeros. A fresh process then opens the set, makes a PatchStream of its training split, takes the
first batch of epoch 0, and, with another stream, the first batch in the middle of epoch 3, as a resumed run does.
Memory is what the process has more than before it opened the set (smaps_rollup, proc(5)): "anonymous" is its own;
"private" is that and pages of the manifest that no other process uses. The second process runs while a first one
holds the same set open. "cpu" is the processor time of all threads.

    python benchmarks/open_manifest.py --rows 100000000 --scratch /large/disk
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.files import write_json
from nlbs.manifests.conditions import AGE_BINS, LATERALITIES, VIEWS
from nlbs.manifests.people.splits import SPLITS
from nlbs.shards.format.layout import record_digest
from nlbs.shards.format.manifest import SCHEMA
from nlbs.shards.format.verify import sha256_of

RESOLUTION, BATCH = 256, 64
STRIDE = RESOLUTION**2 + 512 * 3  # of a patch in a tar shard
PATCHES_PER_SHARD, PATCHES_PER_IMAGE = 10_000, 50
DATASET_ID = "0123456789abcdef0123456789abcdef"


def make_set(folder: Path, rows: int) -> None:
    """Write a shard set of so many rows."""
    folder.mkdir()
    shards = -(-rows // PATCHES_PER_SHARD)
    for shard in range(shards):
        with (folder / f"{shard:05d}.tar").open("wb") as file:
            file.truncate(patches_of(shard, rows) * STRIDE)
    columns = make_columns(folder, rows)
    metadata = {"dataset_id": DATASET_ID}
    batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA.with_metadata(metadata))
    manifest = folder / "manifest.arrow"
    with pa.OSFile(str(manifest), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    del batch, columns
    for column in folder.glob("*.column"):
        column.unlink()
    info: dict[str, Any] = {
        "format": "nlbs-shards", "format_version": 1, "dataset_id": DATASET_ID,
        "parameters": {
            "resolution": RESOLUTION, "stride": RESOLUTION, "min_foreground": 0.1, "dtype": "uint8",
            "container": "tar", "compression": "none",
        },
        "counts": {"patches": rows},
        "code_books": {
            "view": list(VIEWS), "laterality": list(LATERALITIES), "age_bin": list(AGE_BINS), "split": list(SPLITS)
        },
        "manifest": {"name": manifest.name, "rows": rows, "sha256": sha256_of(manifest)},
        "shards": [
            {"name": f"{s:05d}.tar", "bytes": patches_of(s, rows) * STRIDE, "crc32c": 0, "patches": patches_of(s, rows)}
            for s in range(shards)
        ],
    }  # fmt: skip
    write_json(folder / "shard_set.json", info | {"record_sha256": record_digest(info)})


def patches_of(shard: int, rows: int) -> int:
    """Return how many patches a shard has."""
    return min(rows, (shard + 1) * PATCHES_PER_SHARD) - shard * PATCHES_PER_SHARD


def make_columns(folder: Path, rows: int) -> list[pa.Array]:
    """Return the columns of a manifest, each one piece, in files so that they take no memory."""
    names = [field.name for field in SCHEMA]
    storage = {f.name: f.type.index_type if pa.types.is_dictionary(f.type) else f.type for f in SCHEMA}
    files = {
        name: np.memmap(folder / f"{name}.column", storage[name].to_pandas_dtype(), "w+", shape=(rows,))
        for name in names
    }
    nullable = ("view", "laterality", "age_years", "age_bin", "cancer", "false_positive")
    known = {name: np.zeros(-(-rows // 8), np.uint8) for name in nullable}
    zeros = google_crc32c.value(bytes(RESOLUTION**2))
    images = -(-rows // PATCHES_PER_IMAGE)
    for start in range(0, rows, 100 * PATCHES_PER_SHARD):  # a multiple of 8
        row = np.arange(start, min(rows, start + 100 * PATCHES_PER_SHARD))
        for name, values in values_of(row, rows).items():
            files[name][row] = values
        files["nbytes"][row], files["crc32c"][row] = RESOLUTION**2, zeros
        for number, name in enumerate(nullable):
            seen = files["image"][row] % 11 != number  # one image in eleven lacks it
            known[name][start // 8 : -(-(int(row[-1]) + 1) // 8)] = np.packbits(seen, bitorder="little")
    dictionaries = {
        "shard": [f"{shard:05d}.tar" for shard in range(-(-rows // PATCHES_PER_SHARD))],
        "image": [f"{image:016x}" for image in range(images)],
        "patient": [f"p{patient:012x}" for patient in range(-(-images // 4))],
        "view": list(VIEWS), "laterality": list(LATERALITIES), "split": list(SPLITS),
    }  # fmt: skip
    columns = []
    for name in names:
        bits = pa.py_buffer(known[name]) if name in known else None
        column = pa.Array.from_buffers(storage[name], rows, [bits, pa.py_buffer(files[name])])
        if name in dictionaries:
            column = pa.DictionaryArray.from_arrays(column, pa.array(dictionaries[name], pa.string()))
        columns.append(column)
    return columns


def values_of(row: npt.NDArray[np.int64], rows: int) -> dict[str, npt.NDArray[Any]]:
    """Return the values of some rows: the patches of the images of a shard stand in it at random, and so do splits."""
    generator = np.random.default_rng(int(row[0]))
    shard, number = np.divmod(row, PATCHES_PER_SHARD)
    per_shard = PATCHES_PER_SHARD // PATCHES_PER_IMAGE
    image = shard * per_shard + generator.integers(0, per_shard, len(row))
    image = np.minimum(image, -(-rows // PATCHES_PER_IMAGE) - 1)
    patient = image // 4
    return {
        "shard": shard, "offset": number * STRIDE + 640, "image": image, "patient": patient,
        "y": generator.integers(0, 3000, len(row)), "x": generator.integers(0, 2000, len(row)),
        "scale": np.ones(len(row)), "foreground": generator.random(len(row)),
        "view": image % 2, "laterality": image // 2 % 2, "age_years": 40 + patient % 50, "age_bin": patient % 4,
        "cancer": patient % 37 == 0, "false_positive": patient % 11 == 0,
        "split": np.searchsorted([80, 90], patient * 7919 % 100, side="right"),
    }  # fmt: skip


def memory() -> dict[str, float]:
    """Return the megabytes of this process: its own, and those no other process uses."""
    found = dict.fromkeys(("Anonymous", "Private_Clean", "Private_Dirty"), 0)
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, size, *_ = line.split()
        if name[:-1] in found:
            found[name[:-1]] = int(size)
    private = found["Private_Clean"] + found["Private_Dirty"]
    return {"anonymous": found["Anonymous"] / 1024, "private": private / 1024}


def opened(folder: str) -> tuple[dict[str, float], object]:
    """Return seconds and megabytes of opening a set and of its first batches in this process, and what is open."""
    import torch  # what a trainer has loaded before it opens a set

    from nlbs.shards import open_shards
    from nlbs.train import PatchStream

    torch.zeros(1)
    before, start, cpu, said = memory(), time.perf_counter(), time.process_time(), {}

    def lap(name: str) -> None:
        nonlocal start, cpu
        said[f"{name}_s"] = round(time.perf_counter() - start, 3)
        said[f"{name}_cpu_s"] = round(time.process_time() - cpu, 3)
        said.update({f"{name}_{kind}_mb": round(size - before[kind], 1) for kind, size in memory().items()})
        start, cpu = time.perf_counter(), time.process_time()

    shards = open_shards(folder)
    lap("open")
    stream = PatchStream(shards, BATCH, seed=0, split="train")
    lap("stream")
    batch = next(iter(stream))
    lap("first_batch")
    del shards, stream, batch
    start, cpu = time.perf_counter(), time.process_time()
    shards = open_shards(folder)
    stream = PatchStream(shards, BATCH, seed=0, split="train")
    stream.load_state(stream.state() | {"epoch": 3, "step": len(stream) // 2})
    batch = next(iter(stream))
    lap("resume")
    said["rows"], said["steps"], said["resumed_step"] = len(shards), len(stream), batch.step
    return said, stream


def main() -> None:
    """Make the set, and has two processes open it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, action="append", help="several may be given; 10^8 where none is")
    parser.add_argument("--scratch", type=Path, help="a folder with 130 bytes per row to spare")
    parser.add_argument("--only-open", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_open:
        said_here, still_open = opened(options.only_open)
        print(json.dumps(said_here), flush=True)
        sys.stdin.read()
        del still_open
        return
    found = {}
    for rows in options.rows or [10**8]:
        scratch = Path(tempfile.mkdtemp(dir=options.scratch))
        try:
            make_set(scratch / "set", rows)
            command = [sys.executable, __file__, "--only-open", str(scratch / "set")]
            said: list[dict[str, float]] = []
            running = []
            for _ in range(2):
                child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                running.append(child)
                said.append(json.loads(child.stdout.readline()))  # type: ignore[union-attr]
            for child in running:
                child.communicate()
            found[str(rows)] = {"alone": said[0], "beside_another": said[1]}
        finally:
            shutil.rmtree(scratch)
    print(json.dumps({"benchmark": "open_manifest", "batch_size": BATCH, "rows": found}))


if __name__ == "__main__":
    main()
