"""From bucket to bucket, as a user calls it: the bytes of a local build, whatever happens on the way."""

import csv
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbs.errors import DatasetError
from nlbs.manifests.tables.table import read_table
from nlbs.paths import as_path
from nlbs.preprocess.build import build_shards, reshard
from nlbs.preprocess.formats.image_errors import MissingFileError, UnsupportedImageError
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.root.decoding import stamp_of
from nlbs.preprocess.root.found_files import found_files
from nlbs.preprocess.root.intake import BuildOptions
from nlbs.preprocess.root.sources import UnsafePathError, fetched, safe_path
from nlbs.preprocess.workers import Workers
from nlbs.remote import RemotePath
from nlbs.shards import open_shards
from nlbs.train.cli import main as train
from tests.conftest import CUT, Bucket, run_command

CUT_64 = CutOptions(resolution=64, stride=64)


@pytest.fixture
def source(bucket: Bucket, phantom: Path) -> Bucket:
    """A bucket with the phantom: its table at "meta.csv", its images in "dicom"."""
    bucket.put("meta.csv", (phantom / "meta.csv").read_bytes())
    bucket.put_folder("dicom", phantom)
    return bucket


@pytest.fixture
def few(source: Bucket) -> list[str]:
    """The names of the images in a table "few.csv" of three rows."""
    lines = source.get("meta.csv").decode().splitlines(keepends=True)[:4]
    source.put("few.csv", "".join(lines).encode())
    return ["dicom/" + line.split(",")[0].replace("\\", "/") for line in lines[1:]]


@pytest.fixture
def root(bucket: Bucket, dataset_root: Path) -> Bucket:
    """A bucket with a dataset root at "out", which a local build has made."""
    bucket.put_folder("out", dataset_root)
    return bucket


def options(bucket: Bucket, **changes: Any) -> BuildOptions:
    places: dict[str, Any] = {
        "csv": as_path(bucket.url("meta.csv")),
        "images": as_path(bucket.url("dicom")),
        "out": as_path(bucket.url("out")),
    }
    return BuildOptions(**{**places, "cut": CUT_64, "workers": Workers(1), **changes})


def without_stamps(files: dict[str, bytes]) -> dict[str, bytes]:
    """Gives files with the stamps in sources.csv left out: those of objects are tags, not times."""
    rows = [row[:-1] for row in csv.reader(io.StringIO(files["sources.csv"].decode()))]
    return {**files, "sources.csv": repr(rows).encode()}


def local(folder: Path) -> dict[str, bytes]:
    names = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}


def test_a_build_from_bucket_to_bucket_gives_the_bytes_of_a_local_one_and_is_done_once(
    source: Bucket, dataset_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ("--csv", source.url("meta.csv"), "--images", source.url("dicom"), "--out", source.url("out"))
    done = run_command("preprocess", "build-shards", *places, *CUT[:-1], 2)
    assert done.returncode == 0, done.stderr
    assert f"Shard set   {source.url('out/r64-s64')}" in done.stdout
    assert without_stamps(source.contents("out")) == without_stamps(local(dataset_root))
    assert ".lock" not in source.names("out")

    def refuse(*_: object) -> None:
        raise AssertionError("an image was fetched, or something written that was there")

    monkeypatch.setattr(RemotePath, "download", refuse)
    monkeypatch.setattr("nlbs.shards.format.commit.write_manifest", refuse)
    again = build_shards(options(source))
    assert (again.totals.decoded, again.shard_set.reused) == (0, again.shard_set.shards)


def test_a_build_that_was_killed_continues_to_the_same_bytes(source: Bucket, dataset_root: Path) -> None:
    places = ("--csv", source.url("meta.csv"), "--images", source.url("dicom"), "--out", source.url("out"))
    command = [sys.executable, "-m", "nlbs.preprocess", "build-shards", *places, *CUT]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        reached = time.monotonic() + 240
        while len(source.names("out/images.zarr")) < 8 and time.monotonic() < reached:
            time.sleep(0.01)
        process.kill()
    assert "r64-s64/shard_set.json" not in source.names("out")
    build = build_shards(options(source))
    assert 0 < build.totals.decoded < 16
    assert without_stamps(source.contents("out")) == without_stamps(local(dataset_root))


def test_an_object_that_has_vanished_costs_one_image_and_one_that_changed_is_decoded_again(
    source: Bucket, few: list[str]
) -> None:
    table = as_path(source.url("few.csv"))
    source.client.delete_object(Bucket=source.name, Key=few[0])
    build = build_shards(options(source, csv=table))
    assert (build.totals.decoded, build.totals.skipped) == (2, {"missing_file": 1})
    source.put(few[1], source.get(few[2]))
    assert build_shards(options(source, csv=table, overwrite=True)).totals.decoded == 1


def test_names_in_a_bucket_tell_the_encoding_and_are_found_in_another_spelling(bucket: Bucket) -> None:
    names = ["images/normal/Jose\u0301/x.dcm", "images/normal/P1 – copy/x.DCM"]
    for name in names:
        bucket.put(name, b"")
    header = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"
    table = (
        header + "normal/José/x.dcm,L,CC,60,0,0\nnormal/P1 – copy/x.dcm,L,CC,60,0,0\nnormal/José/y.dcm,,,,,\n"
    )
    bucket.put("meta.csv", table.encode("cp1252"))
    images = as_path(bucket.url("images"))
    found = found_files(read_table(as_path(bucket.url("meta.csv")), images=images), images)
    assert [row.file and f"images/{row.file}" for row in found.rows] == [*names, None]
    assert found.rows[2].nearest == "normal/Jose\u0301/x.dcm"
    assert "Windows-1252" in found.notes[0]


def test_another_cut_of_a_bucket_gives_the_bytes_of_a_local_one(
    root: Bucket, dataset_root: Path, tmp_path: Path
) -> None:
    cut = CutOptions(resolution=32, stride=96)
    shutil.copytree(dataset_root, tmp_path / "out")
    reshard(tmp_path / "out", cut, Workers(1), overwrite=False)
    reshard(as_path(root.url("out")), cut, Workers(1), overwrite=False)
    assert root.contents("out/r32-s96") == local(tmp_path / "out" / "r32-s96")
    with pytest.raises(DatasetError, match="no dataset root"):
        reshard(as_path(root.url("elsewhere")), cut, Workers(1), overwrite=False)


def test_verify_names_a_flipped_byte_and_restores_it(root: Bucket) -> None:
    key = "out/r64-s64/00003.tar"
    whole = root.get(key)
    with open_shards(root.url("out")) as shards:
        row = int(np.flatnonzero(shards.manifest["shard"].to_numpy() == "00003.tar")[0])
        place = shards.manifest["offset"][row].as_py()
    root.put(key, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    done = run_command("preprocess", "verify", "--shards", root.url("out"), "--repair", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert f"{root.url(key)} is not what was written: 1 of " in done.stdout
    assert f"damaged (row {row} of the manifest)" in done.stdout
    assert f"{root.url('out/r64-s64')} is restored" in done.stdout
    assert root.get(key) == whole


def test_pictures_of_a_bucket_go_to_a_bucket(root: Bucket) -> None:
    from nlbs.preprocess.report.preview import write_preview

    write_preview(as_path(root.url("out")), as_path(root.url("look")), images=2, patches=3, seed=0)
    assert root.names("look") == {"images.png", "patches.png"}
    assert root.get("look/images.png").startswith(b"\x89PNG")


def test_a_run_trains_from_a_bucket_as_from_a_folder(
    root: Bucket, dataset_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "model: {latent_dim: 4, encoder: {channels: [8, 16]}, decoder: {channels: [16, 8, 1]}}\n"
    (tmp_path / "small.yaml").write_text(small + "data: {resolution: 16, batch_size: 64}\n")
    losses = []
    for shards in (dataset_root, root.url("out")):
        run = tmp_path / f"run{len(losses)}"
        arguments = ("--shards", shards, "--config", tmp_path / "small.yaml", "--run", run, "--device", "cpu")
        with pytest.raises(SystemExit) as left:
            train([*map(str, arguments), "--preset", "guide-small", "--epochs", "1", "--cache-gb", "0.001"])
        assert left.value.code == 0, capsys.readouterr().err
        losses.append((run / "best_model.safetensors").read_bytes())
    assert losses[0] == losses[1]
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert 0 < kept <= 1_000_000


@pytest.mark.parametrize("text", ["../x", "a/../../x", "/x", "s3://other/x", "~/x", "C:/x", "a\0b", ".", ""])
def test_a_path_that_leads_out_of_the_folder_is_refused(text: str) -> None:
    with pytest.raises(UnsafePathError):
        safe_path(as_path("s3://bucket/dicom"), text)


def test_a_path_within_the_folder_is_taken_also_as_an_address() -> None:
    images = as_path("s3://bucket/dicom")
    for text in ("a/b.dcm", "./a/./b.dcm", "c/../a/b.dcm", "s3://bucket/dicom/a/b.dcm"):
        assert safe_path(images, text) == images / "a/b.dcm"
    with pytest.raises(UnsafePathError):
        safe_path(images, "s3://bucket/dicom/../private/b.dcm")


def test_no_object_is_fetched_that_is_larger_than_any_image(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("x", b"123")
    path = as_path(bucket.url("x"))
    with fetched(path) as copy:
        assert copy.read_bytes() == b"123"
    monkeypatch.setattr("nlbs.preprocess.root.sources.LARGEST_FILE_BYTES", 2)
    with pytest.raises(UnsupportedImageError, match="3 bytes"), fetched(path):
        pass
    with pytest.raises(MissingFileError), fetched(as_path(bucket.url("y"))):
        pass
    assert stamp_of(path) == f"3:{bucket.client.head_object(Bucket=bucket.name, Key='x')['ETag'][1:-1]}"
    assert stamp_of(as_path(bucket.url("y"))) == ""


def test_errors_are_one_sentence_and_exit_code_1(source: Bucket) -> None:
    out = ("--out", source.url("out"))
    for arguments, message in (
        (("--csv", source.url("none.csv"), *out), f"there is no CSV at {source.url('none.csv')}"),
        (("--csv", source.url("meta.csv"), "--images", source.url("none"), *out), "there is no folder s3://"),
        (("--csv", "s3://no-such-bucket/meta.csv", *out), "there is no bucket 'no-such-bucket'"),
        (("--csv", source.url("meta.csv"), "--out", "gs://x/y"), "none of the object stores"),
        (("--csv", source.url("meta.csv"), "--key-file", "s3://x/y", *out), "is no local path"),
    ):
        from nlbs.preprocess.cli import cli

        with pytest.raises(Exception, match=message):  # what the entry point prints, tested beside it
            cli.main(["build-shards", *arguments], standalone_mode=False)
    done = run_command("preprocess", "info", "--shards", source.url("none"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"Error: there is no folder {source.url('none')}" in done.stderr


def test_local_runs_load_nothing_of_the_object_stores(phantom: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom nlbs.preprocess.cli import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "print({'s3fs', 'botocore', 'aiohttp', 'fsspec.asyn'} & set(sys.modules))"
    )
    arguments = ["build-shards", "--csv", str(phantom / "meta.csv"), "--out", str(tmp_path), *CUT]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout.splitlines()[-1] == "set()"
