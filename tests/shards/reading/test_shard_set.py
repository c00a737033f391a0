"""An opened shard set: any rows in any order, from threads and processes, and every damage named.

Also covers: shards/reading/local_shards.py, shards/reading/records.py.
"""

import copy
import multiprocessing
import os
import resource
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import ShardError
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.reading import local_shards
from tests.conftest import some
from tests.shards.conftest import make_shard_set

Opened = tuple[ShardSet, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A set of 150 patches, several tasks for the readers, and its pixels. Not to be changed."""
    folder = tmp_path_factory.mktemp("set") / "r8-s8"
    pixels = make_shard_set(folder, patches=150, resolution=8, shards=7)
    return open_shards(folder), pixels


# What is read.


@given(rows=st.lists(st.integers(0, 149), max_size=80))
def test_patches_come_in_the_order_asked_repeats_too(opened: Opened, rows: list[int]) -> None:
    shards, pixels = opened
    found = shards.read(rows)
    assert found.shape == (len(rows), 8, 8)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels[np.array(rows, dtype=int)])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_both_kinds_of_pixels_come_back_to_the_last_bit(tmp_path: Path, dtype: str) -> None:
    pixels = make_shard_set(tmp_path / "set", dtype=dtype)
    shards = open_shards(tmp_path)
    assert shards.dtype == np.dtype(dtype)
    assert shards.read(shards.rows()).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(shards.read(shards.rows()), pixels)


KINDS = [("tar", "none"), ("tar", "png"), ("zarr", "none"), ("zarr", "zstd")]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("container", "compression"), KINDS)
def test_every_container_gives_the_same_pixels(
    tmp_path: Path, container: str, compression: str, dtype: str
) -> None:
    pixels = make_shard_set(
        tmp_path / "set", patches=50, dtype=dtype, container=container, compression=compression
    )
    shards = open_shards(tmp_path)
    assert shards.compression == compression
    rows = np.random.default_rng(0).integers(0, 50, 120)
    np.testing.assert_array_equal(shards.read(rows), pixels[rows])
    np.testing.assert_array_equal(shards.read(rows[:3]), pixels[rows[:3]])  # without the threads


@pytest.mark.parametrize("count", [1, 5, 40])
def test_pixels_are_read_into_the_array_that_is_given(opened: Opened, count: int) -> None:
    shards, pixels = opened
    out = np.zeros((count, 8, 8), np.uint8)
    rows = np.arange(count)[::-1]
    assert shards.read(rows, out=out) is out
    np.testing.assert_array_equal(out, pixels[:count][::-1])


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((3, 8, 8), np.uint16),
        np.zeros((3, 8, 16), np.uint8)[:, :, ::2],
        np.zeros((3, 64), np.uint8),
    ],
)
def test_an_array_that_does_not_fit_is_refused(opened: Opened, out: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"out must be a C-contiguous uint8 array of shape \(3, 8, 8\)"):
        opened[0].read([0, 1, 2], out=out)


@pytest.mark.parametrize("row", [-1, 150, 2**40])
def test_a_row_that_does_not_exist_is_an_error(opened: Opened, row: int) -> None:
    for function in (opened[0].read, opened[0].conditions):
        with pytest.raises(IndexError, match=r"do not lie in 0\.\.149 of ShardSet"):
            function([3, row])


@pytest.mark.parametrize("rows", [[True, False, True], [0.0, 1.5], ["1"]])
def test_a_mask_or_fractions_are_not_taken_for_row_numbers(opened: Opened, rows: Any) -> None:
    for function in (opened[0].read, opened[0].conditions):
        with pytest.raises(ValueError, match="rows must be row numbers"):
            function(rows)


def test_a_table_of_rows_is_refused(opened: Opened) -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        opened[0].read([[1, 2]])


def test_rows_of_the_splits_divide_the_manifest(opened: Opened) -> None:
    shards, _ = opened
    splits = shards.manifest["split"].to_pylist()
    for split in ("train", "val", "test"):
        assert shards.rows(split).tolist() == [row for row, found in enumerate(splits) if found == split]
    assert shards.rows().tolist() == list(range(150))
    with pytest.raises(ShardError, match="there is no split 'validation'; a shard set has train, val, test"):
        shards.rows("validation")


def test_conditions_are_codes_and_minus_one_where_a_model_knows_none(tmp_path: Path) -> None:
    columns = {
        "view": ["CC", "MLO", "ML", "LMO", "XCCL", None],
        "laterality": ["L", "R", None, "R", "L", "R"],
        "age_years": [30, 46, 60, 90, None, None],
        "age_bin": [0, 1, 2, 3, None, 2],
        "cancer": [0, 1, None, 0, 0, 1],
        "false_positive": [None, 0, 1, 1, 0, 0],
        "split": ["train"] * 6,
    }
    make_shard_set(tmp_path / "set", patches=6, columns=columns)
    shards = open_shards(tmp_path)
    expected = {
        "view": [0, 1, -1, -1, -1, -1],
        "laterality": [0, 1, -1, 1, 0, 1],
        "age_bin": [0, 1, 2, 3, -1, 2],
        "cancer": [0, 1, -1, 0, 0, 1],
        "false_positive": [-1, 0, 1, 1, 0, 0],
    }
    assert {name: codes.tolist() for name, codes in shards.conditions().items()} == expected
    chosen = shards.conditions([5, 0, 5])
    assert {name: codes.tolist() for name, codes in chosen.items()} == {
        name: [codes[5], codes[0], codes[5]] for name, codes in expected.items()
    }
    assert {codes.dtype for codes in chosen.values()} == {np.dtype(np.int64)}
    assert shards.manifest["view"].to_pylist() == columns["view"]  # the view itself is kept
    assert shards.rows("val").shape == (0,)


def test_a_set_tells_its_size_and_parameters(opened: Opened) -> None:
    shards, _ = opened
    assert len(shards) == 150
    assert shards.resolution == 8
    assert shards.parameters["stride"] == 8
    assert shards.dataset_id == "0123456789abcdef0123456789abcdef"
    assert repr(shards) == f"ShardSet({str(shards.folder)!r}, 150 patches of 8x8)"


def test_a_shard_without_patches_does_no_harm(tmp_path: Path) -> None:
    pixels = make_shard_set(tmp_path / "set", patches=2, shards=5)
    np.testing.assert_array_equal(open_shards(tmp_path).read([1, 0]), pixels[::-1])


def test_webdataset_and_the_manifest_agree_on_every_patch(shard_folder: Path) -> None:
    import webdataset

    shards = open_shards(shard_folder)
    urls = [str(path) for path in sorted(shard_folder.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    for row, (sample, known) in some(enumerate(zip(samples, shards.manifest.to_pylist(), strict=True))):
        np.testing.assert_array_equal(sample["npy"], shards.read([row])[0])
        assert sample["json"].items() <= known.items()


# Processes, threads, files.


def read_rows(shards: ShardSet, rows: list[int]) -> npt.NDArray[Any]:
    return shards.read(rows)


def test_a_set_sent_to_a_spawned_process_reads_there(opened: Opened) -> None:
    shards, pixels = opened
    rows = list(range(149, -1, -1))
    shards.read(rows)  # files, threads and checks of this process must not travel
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(read_rows, shards, rows).result(60), pixels[::-1])


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
@pytest.mark.filterwarnings(
    "ignore:.*fork.*:DeprecationWarning"
)  # Python 3.12 warns of any fork beside threads
def test_a_forked_process_reads_with_threads_of_its_own(opened: Opened) -> None:
    shards, pixels = opened
    np.testing.assert_array_equal(shards.read(shards.rows()), pixels)  # the parent has its threads now
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that waits for its parent's threads
        try:
            same = np.array_equal(shards.read(shards.rows()), pixels)
        finally:
            os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    np.testing.assert_array_equal(shards.read(shards.rows()), pixels)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_many_threads_read_at_once_and_open_each_shard_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = make_shard_set(tmp_path / "set", patches=150, resolution=8, shards=7)
    shards = open_shards(tmp_path)
    at_once = os.open

    def slow_open(*args: Any) -> int:
        threading.Event().wait(0.005)  # long enough for the others to want the same file
        return at_once(*args)

    monkeypatch.setattr(os, "open", slow_open)
    start = threading.Barrier(8)

    def read(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, 150, 100)
        start.wait()
        return all(np.array_equal(shards.read(rows), pixels[rows]) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    targets = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    assert sum(target.startswith(str(shards.folder)) for target in targets) == 7


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_more_shards_than_files_may_be_open_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_shards, "_OPEN_FILES", 4)
    pixels = make_shard_set(tmp_path / "set", patches=300, resolution=1, shards=300)
    shards = open_shards(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(link.name) for link in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        for _ in range(2):
            np.testing.assert_array_equal(shards.read(shards.rows()), pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_closed_set_opens_its_files_again_when_it_is_read(opened: Opened) -> None:
    pixels = opened[1]
    with open_shards(opened[0].folder) as shards:
        shards.read(shards.rows())
        files = set(shards._reader.shards._files.values())
        assert len(files) == 7
    for file in files:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)
    np.testing.assert_array_equal(shards.read([149, 3]), pixels[[149, 3]])
    shards.close()


def test_a_set_opened_by_a_relative_path_is_read_from_another_folder(
    shard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shard_folder.parent)
    shards = open_shards("r16-s16")
    monkeypatch.chdir("/")
    assert shards.read([0]).shape == (1, 16, 16)
    assert len(copy.copy(shards)) == 12


# Damage.


def test_a_filter_takes_rows_of_the_split_only(shard_folder: Path) -> None:
    shards = open_shards(shard_folder)
    table = shards.manifest.to_pylist()
    for split in ("train", "val", "test", None):
        expected = [
            number
            for number, row in enumerate(table)
            if row["view"] == "MLO" and row["cancer"] is not None and split in (None, row["split"])
        ]
        assert shards.rows(split, "view == 'MLO' and cancer is not null").tolist() == expected
    assert shards.rows("train", "age_years > 95").shape == (0,)


def test_the_rows_of_each_shard_are_counted(shard_folder: Path) -> None:
    shards = open_shards(shard_folder)
    for rows in (shards.rows(), shards.rows("val"), np.array([], dtype=np.int64)):
        names = [shards.manifest["shard"][row].as_py() for row in rows.tolist()]
        assert shards.shard_sizes(rows).tolist() == [names.count(f"{k:05d}.tar") for k in range(3)]


@pytest.mark.parametrize("split", [None, "train", "val", "test"])
@pytest.mark.parametrize("where", [None, "view == 'CC' or cancer is null", "x == 8"])
def test_a_selection_has_the_rows_whose_values_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str | None, where: str | None
) -> None:
    monkeypatch.setattr("nlbs.shards.reading.shard_set._ROWS_AT_ONCE", 512)
    make_shard_set(tmp_path, patches=1300, resolution=2, shards=7)
    shards = open_shards(tmp_path)
    taken = {
        None: lambda patch: True,
        "x == 8": lambda patch: False,
        "view == 'CC' or cancer is null": lambda patch: patch["view"] == "CC" or patch["cancer"] is None,
    }[where]
    rows = [
        row
        for row, patch in enumerate(shards.manifest.to_pylist())
        if split in (None, patch["split"]) and taken(patch)
    ]
    selection = shards.selection(split, where)
    assert len(selection) == len(rows)
    assert selection.numbers().tolist() == rows == shards.rows(split, where).tolist()
    assert selection[np.arange(len(rows))].tolist() == rows
    in_shard = np.bincount(np.array(rows, dtype=int) * 7 // 1300, minlength=7)
    assert shards.shard_sizes(selection).tolist() == in_shard.tolist()


@pytest.mark.parametrize("at_once", [512, 1 << 22])
def test_what_occurs_is_what_a_filter_over_all_rows_finds(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.shards.reading.shard_set._ROWS_AT_ONCE", at_once)
    view = ["CC"] * 1200 + ["MLO", None] * 24
    make_shard_set(tmp_path, 1248, columns={"view": view, "split": ["train"] * 1246 + ["val", "test"]})
    shards = open_shards(tmp_path)
    for split, where in ((None, None), ("train", None), ("val", None), ("train", "view == 'MLO'")):
        codes = shards.conditions(shards.rows(split, where))
        assert shards.occurring(split, where) == {name: set(found.tolist()) for name, found in codes.items()}
    assert shards.occurring()["view"] == {-1, 0, 1}
    assert shards.occurring("val")["view"] == {0 if view[1246] == "CC" else 1}
