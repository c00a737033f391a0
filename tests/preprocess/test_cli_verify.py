"""verify of a dataset root: each damage named, and repaired to the same bytes.

Also covers: preprocess/sets/repair.py.
"""

import json
import os
import shutil
import tarfile
from pathlib import Path

from nlbs.shards import open_shards
from tests.conftest import run_command
from tests.preprocess.roots import files_of, preprocess, run
from tests.preprocess.test_build import digests


def test_verify_names_each_damage_and_repair_restores_the_bytes(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(dataset_root, root)
    folder = root / "r64-s64"
    expected = digests(folder)
    shards = open_shards(root)
    clean = run_command("preprocess", "verify", "--shards", root)
    assert clean.returncode == 0, clean.stderr

    pixel = shards.manifest.slice(0, 1).to_pylist()[0]
    flipped = folder / pixel["shard"]
    data = bytearray(flipped.read_bytes())
    data[pixel["offset"] + 100] ^= 1
    flipped.write_bytes(data)
    header = bytearray((folder / "00001.tar").read_bytes())
    header[0] ^= 1  # the name of the first member
    (folder / "00001.tar").write_bytes(header)
    with tarfile.open(folder / "00002.tar") as tar:
        boundary = tar.getmembers()[2].offset
    os.truncate(folder / "00002.tar", boundary)  # a tar that is cut there reads as a shorter tar
    (folder / "00003.tar").unlink()
    shutil.copy(dataset_root / "r64-s64" / "00005.tar", folder / "00004.tar")
    found = run_command("preprocess", "verify", "--shards", root)
    assert found.returncode == 1
    lines = {line.split()[0].rsplit("/", 1)[1]: line for line in found.stdout.splitlines()}
    assert set(lines) == {f"0000{number}.tar" for number in range(5)}
    assert "patches is damaged (row 0 of the manifest)" in lines["00000.tar"]
    assert "every patch is intact" in lines["00001.tar"]
    assert f"has {boundary} bytes instead of" in lines["00002.tar"]
    assert "is missing" in lines["00003.tar"]

    assert (
        f"5 files of {folder} are damaged: nlbs-preprocess verify --shards {folder} --repair" in found.stderr
    )
    shutil.copytree(folder, tmp_path / "alone")
    alone = run_command("preprocess", "verify", "--shards", tmp_path / "alone")
    assert f"damaged: copy {tmp_path / 'alone'} again from where it came" in alone.stderr

    repaired = run_command("preprocess", "verify", "--shards", root, "--repair", "--jobs", "1")
    assert repaired.returncode == 0, repaired.stderr
    assert digests(folder) == expected


def test_verify_finds_a_manifest_of_another_set(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(dataset_root, root)
    assert (
        run_command(
            "preprocess", "reshard", "--shards", root, "--stride", "32", "--resolution", "64"
        ).returncode
        == 0
    )
    shutil.copy(root / "r64-s32" / "manifest.arrow", root / "r64-s64" / "manifest.arrow")
    found = run_command("preprocess", "verify", "--shards", root / "r64-s64")
    assert found.returncode == 1
    assert "manifest.arrow" in found.stdout
    assert "belongs to another shard set" in found.stdout


def test_verify_and_info_take_all_sets_of_a_root(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(dataset_root, root)
    preprocess("reshard", "--shards", root, "--resolution", "96", "--stride", "96", "--jobs", "1")
    before, sets = files_of(root), (root / "r64-s64", root / "r96-s96")
    said = preprocess("verify", "--shards", root)
    for folder in sets:
        assert f"{folder}: every byte is as it was written" in said
    both = json.loads(preprocess("info", "--shards", root, "--json"))
    assert both == [json.loads(preprocess("info", "--shards", folder, "--json")) for folder in sets]
    every = preprocess("info", "--shards", root)
    assert all(preprocess("info", "--shards", folder).strip() in every for folder in sets)
    for folder in sets:
        (folder / "manifest.arrow").write_bytes(b"")
    found = run("verify", "--shards", root)
    assert found.returncode == 1
    assert "2 shard sets of" in found.stderr
    restored = preprocess("verify", "--shards", root, "--repair", "--jobs", "1")
    assert restored.count("is restored") == 2
    assert files_of(root) == before
