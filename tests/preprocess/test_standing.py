"""What stands in a root stays as it is."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import CUT, run_command
from tests.preprocess.test_build import digests, read_csv


@pytest.mark.parametrize("cut", [(), ("--resolution", "96", "--stride", "48")])
def test_no_patient_of_a_root_moves_to_another_split(
    phantom: Path, dataset_root: Path, tmp_path: Path, cut: tuple[str, ...]
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(dataset_root, root)
    build = ("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", root, "--jobs", "1")
    moving = ("--split", "0/0/100")
    refused = run_command(*build, *moving, *(cut or CUT))
    assert refused.returncode == 1
    assert "would move to another split" in refused.stderr
    assert "--split-seed" in refused.stderr
    kept, found = digests(dataset_root), digests(root)
    assert {name: value for name, value in found.items() if name != ".lock"} == {
        name: value for name, value in kept.items() if name != ".lock"
    }
    assert run_command(*build, *moving, *(cut or CUT), "--overwrite").returncode == 0
    assert {row["split"] for row in read_csv(root / "images.csv")} == {"test"}
