"""A poisoned file costs that file only: crashes, hangs and memory bombs in a real pool of workers.

Also covers: preprocess/root/decoding.py.
"""

import ctypes
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.table import ImageRow
from nlbs.preprocess.formats.image_errors import DecodeError
from nlbs.preprocess.images.decode import DecodedImage, DecodeOptions
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.decoding import Decoding, verdict
from nlbs.preprocess.root.ingest import ingest
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.workers import Workers

OPTIONS, CUT = DecodeOptions(), CutOptions(resolution=8, stride=8)


def poisoned(path: Path, options: DecodeOptions) -> DecodedImage:
    """Stands for a decoder: what it does depends on the file's name."""
    kind = path.stem.split("-")[0]
    if kind == "crash":
        ctypes.string_at(0)  # a real segmentation fault, in native code
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does when memory runs out
    if kind == "hang":
        time.sleep(600)
    if kind == "bomb":
        np.ones(20 << 30, np.uint8)
    if kind == "bad":
        raise DecodeError("no pixels in here")
    time.sleep(0.02)
    record = {
        "crop_rows": 8,
        "crop_columns": 8,
        "mask": {"step": 1, "rows": 8, "columns": 8, "runs": [0, 64]},
    }
    return DecodedImage(np.full((8, 8), len(path.stem), np.uint8), record, ())


def run(folder: Path, names: list[str], workers: Workers) -> dict[str, Source]:
    sources = []
    for number, name in enumerate(names, start=1):
        (folder / name).write_text(name)
        row = ImageRow(number, name, Conditions(), "p")
        sources.append(Source(row, f"{number:016x}", "p0", "train", folder / name))
    store = ImageStore.open(folder / "images.zarr", OPTIONS.recipe())
    outcomes = ingest(sources, Decoding(store, OPTIONS, CUT, poisoned, timeout_s=3), {}, workers)
    assert [outcome.row.row for outcome in outcomes] == list(range(1, len(names) + 1))
    for outcome in outcomes:
        assert (store.record(outcome.image) is not None) == (outcome.status == "ok")
    assert not list((folder / "images.zarr").glob(".in-hand*"))
    return {outcome.row.path: outcome for outcome in outcomes}


@pytest.mark.parametrize("workers", [Workers(2), Workers(1, "threading")], ids=str)
def test_crashes_hangs_and_bombs_are_named_and_every_other_file_is_decoded(
    workers: Workers, tmp_path: Path
) -> None:
    good = [f"good-{number}.dcm" for number in range(24)]
    poison = {
        "crash-1.dcm": "codec_crash",
        "hang-1.dcm": "timeout",
        "killed-1.dcm": "codec_crash",
        "bomb-1.dcm": "out_of_memory",
        "bad-1.dcm": "decode_failed",
    }
    names = good.copy()
    for place, name in enumerate(poison):
        names.insert(3 + 5 * place, name)
    outcomes = run(tmp_path, names, workers)
    assert {name: outcomes[name].status for name in poison} == poison
    assert {outcomes[name].status for name in good} == {"ok"}
    assert outcomes["crash-1.dcm"].reason == "the decoder crashed its process (signal 11)"
    assert outcomes["hang-1.dcm"].reason == "decoding did not end within 3 s"


@pytest.mark.parametrize(
    ("exitcode", "elapsed_s", "status"),
    [
        (1, 4.0, "timeout"),
        (-signal.SIGSEGV, 4.01, "timeout"),  # as the traceback of a running process may do
        (-signal.SIGSEGV, 3.9, "codec_crash"),
        (-signal.SIGKILL, -math.inf, "codec_crash"),  # before it began
    ],
)
def test_a_process_that_ends_at_the_end_of_its_time_took_too_long(
    exitcode: int, elapsed_s: float, status: str, tmp_path: Path
) -> None:
    row = ImageRow(2, "a.dcm", Conditions(), "p")
    found = verdict(Source(row, "0" * 16, "p0", "train", tmp_path), exitcode, 4.0, elapsed_s)
    assert found.status == status
