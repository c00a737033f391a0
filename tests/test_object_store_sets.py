"""Sets that grow, move, are shown and restored in a bucket: what a local folder would have, to the last byte."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from nlbs.errors import ConfigError
from nlbs.paths import as_path
from nlbs.preprocess.append import append
from nlbs.preprocess.build import build_shards
from nlbs.preprocess.cli import cli
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.report.page import write_report
from nlbs.preprocess.root.intake import BuildOptions
from nlbs.preprocess.root.preflight import preflight
from nlbs.preprocess.sets.convert import ConvertOptions, convert
from nlbs.preprocess.workers import Workers
from nlbs.remote import RemotePath
from nlbs.shards import open_shards
from tests.conftest import Bucket
from tests.test_object_store import local, without_stamps

ONE = Workers(1)
ZSTD = ConvertOptions("zarr", "zstd", workers=ONE)


@pytest.fixture(scope="module")
def four(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local dataset root with one shard set of four images, in four shards. Not to be changed."""
    folder = tmp_path_factory.mktemp("four")
    lines = (phantom / "meta.csv").read_bytes().splitlines(keepends=True)
    (folder / "meta.csv").write_bytes(b"".join(lines[:5]))
    places: dict[str, Any] = {"csv": folder / "meta.csv", "images": phantom, "out": folder / "out"}
    build_shards(BuildOptions(**places, cut=CutOptions(resolution=64, stride=64), workers=ONE))
    return folder / "out"


@pytest.fixture
def root(bucket: Bucket, four: Path) -> Bucket:
    """A bucket with a copy of that root at "out"."""
    bucket.put_folder("out", four)
    return bucket


def said(*arguments: object) -> str:
    """Gives what a command prints."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_zarr_set_that_is_built_and_grown_in_a_bucket_has_the_bytes_of_a_local_one(
    bucket: Bucket, phantom: Path, tmp_path: Path
) -> None:
    lines = (phantom / "meta.csv").read_bytes().splitlines(keepends=True)
    cut = CutOptions(resolution=64, stride=128, container="zarr", compression="zstd")
    bucket.put_folder("dicom", phantom)
    for place in (str(tmp_path), bucket.url()):
        images = phantom if place == str(tmp_path) else as_path(f"{place}/dicom")
        options: dict[str, Any] = {"images": images, "out": as_path(f"{place}/out"), "workers": ONE}
        for name, table in (("first.csv", lines[:5]), ("all.csv", lines[:9])):
            (tmp_path / name).write_bytes(b"".join(table))
            bucket.put(name, b"".join(table))
        build_shards(BuildOptions(csv=as_path(f"{place}/first.csv"), cut=cut, **options))
        added = append(BuildOptions(csv=as_path(f"{place}/all.csv"), **options))
        assert (added.known, added.totals.usable) == (4, 4)
    assert without_stamps(bucket.contents("out")) == without_stamps(local(tmp_path / "out"))
    assert bucket.get("out/r64-s128-zarr-zstd/shard_set-00001.json")
    for generation in (1, None):
        with (
            open_shards(tmp_path / "out", generation) as here,
            open_shards(bucket.url("out"), generation) as there,
        ):
            np.testing.assert_array_equal(there.read(there.rows()), here.read(here.rows()))


def test_a_set_moves_to_another_container_in_a_bucket_out_of_it_and_into_it(
    root: Bucket, four: Path, tmp_path: Path
) -> None:
    shutil.copytree(four, tmp_path / "out")
    convert(tmp_path / "out", ZSTD)
    there = convert(as_path(root.url("out/r64-s64")), ZSTD)
    assert str(there.folder) == root.url("out/r64-s64-zarr-zstd")
    moved = local(tmp_path / "out" / "r64-s64-zarr-zstd")
    assert root.contents("out/r64-s64-zarr-zstd") == moved
    assert convert(as_path(root.url("out/r64-s64")), ZSTD).reused == there.shards
    back = ConvertOptions("tar", out=tmp_path / "back", workers=ONE)
    convert(there.folder, back)
    assert local(tmp_path / "back") == local(four / "r64-s64")
    into = ConvertOptions("zarr", "zstd", out=as_path(root.url("moved")), workers=ONE)
    convert(four, into)
    assert root.contents("moved") == moved
    assert ".lock" not in root.names("moved") | root.names("out")


def test_verify_restores_chunks_and_descriptions_of_zarr_shards(root: Bucket) -> None:
    convert(as_path(root.url("out")), ZSTD)
    folder = "out/r64-s64-zarr-zstd"
    whole = root.contents(folder)
    chunk = whole["00001.zarr/c/0/0/0"]
    root.put(f"{folder}/00001.zarr/c/0/0/0", bytes([chunk[0] ^ 1]) + chunk[1:])
    root.client.delete_object(Bucket=root.name, Key=f"{folder}/00003.zarr/zarr.json")
    lines = said("verify", "--shards", root.url(folder), "--repair", "--jobs", 1)
    assert f"{root.url(folder)}/00001.zarr is not what was written: 1 of " in lines
    assert f"{root.url(folder)}/00003.zarr/zarr.json is missing" in lines
    assert "is restored" in lines
    assert root.contents(folder) == whole


def test_the_report_and_info_of_a_bucket_are_those_of_a_folder(
    root: Bucket, four: Path, tmp_path: Path
) -> None:
    url, here = root.url("out"), str(four)
    lines = write_report(as_path(url), as_path(f"{url}/report.html"), images=2, patches=1, seed=0)
    write_report(four, tmp_path / "report.html", images=2, patches=1, seed=0)
    assert lines[0].endswith(f"{url}/report.html")
    page = root.get("out/report.html").decode()
    assert page.count("data:image/png") > 2
    assert page.replace(url, here) == (tmp_path / "report.html").read_text(encoding="utf-8")
    there = said("info", "--json", "--shards", url)
    assert there.replace(url, here) == said("info", "--json", "--shards", four)


def test_preflight_looks_at_the_start_of_few_objects(
    bucket: Bucket, phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("meta.csv", (phantom / "meta.csv").read_bytes())
    bucket.put_folder("dicom", phantom)
    asked: list[tuple[int, int]] = []
    read_range = RemotePath.read_range

    def read(path: RemotePath, start: int, end: int) -> bytes:
        asked.append((start, end))
        return read_range(path, start, end)

    monkeypatch.setattr(RemotePath, "read_range", read)
    monkeypatch.setattr(RemotePath, "download", None)  # nothing is fetched whole
    places = ("--csv", bucket.url("meta.csv"), "--images", bucket.url("dicom"))
    assert said("preflight", *places) == said("preflight", "--csv", phantom / "meta.csv")
    assert asked == [(0, 1 << 16)] * 16
    nothing = [as_path(bucket.url(f"dicom/none{number}")) for number in range(65)]
    found = preflight(nothing)
    assert (found.looked_at, found.found[0].name) == (64, "missing")


def test_what_needs_a_file_system_of_several_machines_is_refused(bucket: Bucket, phantom: Path) -> None:
    out = bucket.url("out")
    build = ("build-shards", "--csv", str(phantom / "meta.csv"), "--out", out)
    for arguments in ((*build, "--part", "1/2"), ("merge", "--shards", out)):
        with pytest.raises(ConfigError, match="parts of a build need a file system"):
            cli.main(list(arguments), standalone_mode=False)
    assert bucket.names() == set()
    with pytest.raises(ConfigError, match="--backend dask needs a file system that all machines mount"):
        cli.main([*build, "--backend", "dask", "--scheduler", "tcp://127.0.0.1:1"], standalone_mode=False)
