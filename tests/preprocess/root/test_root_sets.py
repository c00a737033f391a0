"""verify and info of a root with several shard sets: a section for each, and a bad one stops no other."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import run_command
from tests.preprocess.test_build import digests


@pytest.fixture
def root(dataset_root: Path, tmp_path: Path) -> Path:
    """A root with two whole sets."""
    copy = tmp_path / "shards"
    shutil.copytree(dataset_root, copy)
    words = ("preprocess", "reshard", "--shards", copy, "--resolution", "64", "--stride", "32", "--jobs", "1")
    assert run_command(*words).returncode == 0
    return copy


def flip(path: Path, place: int = 700) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_verify_reads_all_sets_and_names_the_damaged_one(root: Path) -> None:
    whole = run_command("preprocess", "verify", "--shards", root)
    assert whole.returncode == 0, whole.stderr
    assert [line for line in whole.stdout.splitlines() if line.startswith("Shard set ")] == [
        f"Shard set {root / name}" for name in ("r64-s32", "r64-s64")
    ]
    assert whole.stdout.count("every byte is as it was written") == 2

    expected = digests(root / "r64-s32")
    flip(root / "r64-s32" / "00000.tar")
    found = run_command("preprocess", "verify", "--shards", root)
    assert found.returncode == 1
    assert "1 shard set of" in found.stderr
    assert "r64-s32" in found.stderr
    assert "r64-s64" not in found.stderr
    assert f"{root / 'r64-s64'}: every byte is as it was written" in found.stdout
    assert run_command("preprocess", "verify", "--shards", root / "r64-s64").returncode == 0

    mended = run_command("preprocess", "verify", "--shards", root, "--repair", "--jobs", "1")
    assert mended.returncode == 0, mended.stderr
    assert digests(root / "r64-s32") == expected


def test_verify_goes_on_where_one_set_cannot_be_restored(root: Path) -> None:
    shutil.copytree(root / "r64-s64", root / "a-copy")
    described = json.loads((root / "a-copy" / "shard_set.json").read_text())
    described["parameters"]["resolution"] = 32
    (root / "a-copy" / "shard_set.json").write_text(json.dumps(described))
    flip(root / "r64-s64" / "00000.tar")
    done = run_command("preprocess", "verify", "--shards", root, "--repair", "--jobs", "1")
    assert f"{root / 'r64-s64'} is restored" in done.stdout
    assert f"{root / 'r64-s32'}: every byte is as it was written" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_finished_set_without_its_description_is_damaged_and_one_under_way_is_not(root: Path) -> None:
    (root / "r64-s32" / "shard_set.json").unlink()
    done = run_command("preprocess", "verify", "--shards", root)
    assert done.returncode == 1
    assert f"{root / 'r64-s32' / 'shard_set.json'} is missing: delete" in done.stdout
    (root / "r64-s32" / "parts").mkdir()
    assert run_command("preprocess", "verify", "--shards", root).returncode == 0


def test_info_says_all_sets_and_json_is_a_list_of_them(root: Path) -> None:
    alone = [
        json.loads(run_command("preprocess", "info", "--json", "--shards", root / name).stdout)
        for name in ("r64-s32", "r64-s64")
    ]
    both = run_command("preprocess", "info", "--json", "--shards", root)
    assert both.returncode == 0, both.stderr
    assert json.loads(both.stdout) == alone
    text = run_command("preprocess", "info", "--shards", root)
    assert text.returncode == 0
    assert text.stdout.count("Shard set  ") == 2


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"format": "other"}', ""])
def test_info_says_the_good_set_beside_a_bad_one(root: Path, content: str) -> None:
    (root / "r64-s32" / "shard_set.json").write_text(content)
    done = run_command("preprocess", "info", "--shards", root)
    assert done.returncode == 1
    assert "Cannot be read" in done.stdout
    assert f"Shard set       {root / 'r64-s64'} " in done.stdout
    assert "1 of 2 shard sets cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    said = json.loads(run_command("preprocess", "info", "--json", "--shards", root).stdout)
    assert [set(info) == {"shard_set", "error"} for info in said] == [True, False]


@pytest.mark.parametrize("command", ["report", "preview"])
def test_what_shows_one_set_lists_them(root: Path, tmp_path: Path, command: str) -> None:
    done = run_command("preprocess", command, "--shards", root, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert f"name one of them in its place: {root / 'r64-s32'}, {root / 'r64-s64'};" in done.stderr
    assert f"nlbs-preprocess info --shards {root}" in done.stderr
