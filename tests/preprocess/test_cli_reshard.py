"""reshard of a dataset root, as a user calls it."""

import shutil
from pathlib import Path

from nlbs.shards import open_shards
from tests.conftest import run_command
from tests.preprocess.test_build import digests


def test_resharding_gives_the_bytes_of_a_build_and_opens_no_dicom(
    phantom: Path, dataset_root: Path, tmp_path: Path
) -> None:
    images, root = tmp_path / "images", tmp_path / "shards"
    shutil.copytree(phantom, images)
    shutil.copytree(dataset_root, root)
    other = ("--resolution", "96", "--stride", "48", "--jobs", "1")
    built = run_command(
        *("preprocess", "build-shards", "--csv", images / "meta.csv", "--out", tmp_path / "built", *other)
    )
    assert built.returncode == 0, built.stderr
    shutil.rmtree(images)
    cut = run_command("preprocess", "reshard", "--shards", root, *other)
    assert cut.returncode == 0, cut.stderr
    assert digests(root / "r96-s48") == digests(tmp_path / "built" / "r96-s48")
    ambiguous = run_command("preprocess", "preview", "--shards", root, "--out", tmp_path / "look")
    assert ambiguous.returncode == 1
    assert "r64-s64" in ambiguous.stderr
    assert "r96-s48" in ambiguous.stderr


def test_the_presets_of_the_guide_are_resolution_and_stride(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(dataset_root, root)
    for preset, name in (("high", "r512-s256"), ("balanced", "r256-s512"), ("fast", "r128-s1024")):
        done = run_command("preprocess", "reshard", "--shards", root, "--preset", preset, "--jobs", "1")
        assert done.returncode == 0, done.stderr
        assert open_shards(root / name).resolution == int(name[1:].split("-")[0])
    nothing = run_command("preprocess", "reshard", "--shards", tmp_path / "nowhere")
    assert nothing.returncode == 1
    assert "is no dataset root" in nothing.stderr
