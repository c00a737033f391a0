"""A shard set moves between containers: from its shards alone, to the bytes that a cut gives."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbs.errors import ConfigError, DatasetError, ShardError
from nlbs.preprocess.sets.convert import ConvertOptions, convert
from nlbs.preprocess.workers import Workers
from nlbs.shards import open_shards
from nlbs.shards.format.verify import damages
from tests.conftest import run_command
from tests.preprocess.sets.test_cut import cut, digests, make_store
from tests.shards.conftest import make_shard_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset root with the same patches in every kind of shard. Not to be changed."""
    root = tmp_path_factory.mktemp("root")
    make_store(root, "uint16")
    for options in ({}, {"compression": "png"}, {"container": "zarr"}):
        cut(root, **options)
    cut(root, container="zarr", compression="zstd")
    return root


@pytest.fixture
def alone(root: Path, tmp_path: Path) -> Path:
    """The plain tar set without the store it was cut from."""
    return Path(shutil.copytree(root / "r32-s32", tmp_path / "set"))


def bytes_of(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(folder).items() if name != ".lock"}


def to(container: str, compression: str = "none", **options: Any) -> ConvertOptions:
    return ConvertOptions(container, compression, **{"workers": Workers(1), **options})


KINDS = [("tar", "png", "-png"), ("zarr", "none", "-zarr"), ("zarr", "zstd", "-zarr-zstd")]


@pytest.mark.parametrize(("container", "compression", "ending"), KINDS)
def test_there_and_back_gives_the_bytes_of_a_cut_and_then_the_first_ones(
    root: Path, alone: Path, container: str, compression: str, ending: str
) -> None:
    there = convert(alone, to(container, compression))
    assert there.folder == alone.with_name(f"set{ending}")
    assert bytes_of(there.folder) == digests(root / f"r32-s32{ending}")
    back = convert(there.folder, to("tar", out=alone.with_name("back")))
    assert bytes_of(back.folder) == digests(root / "r32-s32") == digests(alone)


def test_between_any_two_kinds_pixels_and_rows_stay(root: Path, tmp_path: Path) -> None:
    first = convert(root / "r32-s32-png", to("zarr", "zstd", out=tmp_path / "a"))
    second = convert(first.folder, to("zarr", out=tmp_path / "b", workers=Workers(2)))
    assert bytes_of(first.folder) == digests(root / "r32-s32-zarr-zstd")
    assert bytes_of(second.folder) == digests(root / "r32-s32-zarr")
    ours, theirs = open_shards(root / "r32-s32"), open_shards(second.folder)
    np.testing.assert_array_equal(ours.read(ours.rows()), theirs.read(theirs.rows()))
    places = ["shard", "offset", "nbytes", "crc32c"]
    assert ours.manifest.drop_columns(places).equals(theirs.manifest.drop_columns(places))


def test_what_is_there_already_is_not_done_again(alone: Path) -> None:
    first = convert(alone, to("zarr"))
    times = {path: path.stat().st_mtime_ns for path in first.folder.rglob("0")}
    assert convert(alone, to("zarr")).reused == first.shards
    before = bytes_of(first.folder)
    # What a kill leaves: some shards with their commit records, and no more.
    (first.folder / "shard_set.json").unlink()
    (first.folder / "manifest.arrow").unlink()
    assert convert(alone, to("zarr")).reused == 0
    assert bytes_of(first.folder) == before
    assert set(first.folder.rglob("0")) == set(times)


def test_an_interrupted_move_goes_on_after_its_last_shard(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlbs.preprocess.sets import convert as module

    write, calls = module.write_shard, []

    def stop_at_the_third(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(*args)

    monkeypatch.setattr(module, "write_shard", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        convert(alone, to("zarr"))
    folder = alone.with_name("set-zarr")
    assert not (folder / "shard_set.json").exists()
    with pytest.raises(ShardError, match="unfinished"):
        open_shards(folder)
    monkeypatch.setattr(module, "write_shard", write)
    assert convert(alone, to("zarr")).reused == 2
    assert list(damages(folder)) == []


@pytest.mark.parametrize("container", ["tar", "zarr"])
def test_a_damaged_patch_is_named_and_nothing_that_looks_whole_comes_of_it(
    root: Path, tmp_path: Path, container: str
) -> None:
    source = Path(
        shutil.copytree(root / ("r32-s32" if container == "zarr" else "r32-s32-zarr-zstd"), tmp_path / "s")
    )
    patch = open_shards(source).manifest.slice(40, 1).to_pylist()[0]
    name = patch["shard"] + ("" if container == "zarr" else "/c/0/0/0")
    data = bytearray((source / name).read_bytes())
    data[patch["offset"] + 5] ^= 4
    (source / name).write_bytes(data)
    out = tmp_path / "out"
    with pytest.raises(ShardError, match=rf"patch 40 in {source}.* is damaged: its checksum does not match"):
        convert(source, to(container, out=out))
    assert not (out / "shard_set.json").exists()
    assert not list(out.glob(".0*"))
    number = int(patch["shard"].split(".")[0])
    assert not (out / f"{number:05d}.{container}").exists()


def test_another_set_in_the_way_stays_unless_it_may_go(root: Path, alone: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "other")
    target = cut(tmp_path / "other", container="zarr").folder
    with pytest.raises(DatasetError, match="pass --overwrite"):
        convert(alone, to("zarr", out=target))
    convert(alone, to("zarr", out=target, overwrite=True))
    assert bytes_of(target) == digests(root / "r32-s32-zarr")
    with pytest.raises(DatasetError, match="cannot be moved onto itself"):
        convert(alone, to("tar"))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a zarr shard does not hold --compression png"):
        to("zarr", "png")
    make_shard_set(tmp_path / "set")  # without a content_id
    with pytest.raises(ShardError, match="does not say its content_id"):
        convert(tmp_path, to("zarr"))


def test_the_command_moves_a_set_and_says_what_came_of_it(root: Path, alone: Path) -> None:
    done = run_command(
        *("preprocess", "convert", "--shards", alone, "--to", "zarr", "--compression", "zstd"),
        *("--out", alone.with_name("b"), "--jobs", "1"),
    )
    assert done.returncode == 0, done.stderr
    assert f"Shard set   {alone.with_name('b')}" in done.stdout
    assert bytes_of(alone.with_name("b")) == digests(root / "r32-s32-zarr-zstd")
    wrong = run_command("preprocess", "convert", "--shards", alone, "--to", "tar", "--compression", "zstd")
    assert wrong.returncode == 2
    assert "it goes into zarr" in wrong.stderr
