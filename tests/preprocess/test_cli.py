"""Errors of nlbs-preprocess: one plain sentence, exit code 1, no traceback.

Also covers: preprocess/cli_look.py, preprocess/options.py, preprocess/report/preview.py.
"""

from pathlib import Path

import pytest

from tests.conftest import run_command

HEADER = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"


def build(csv: Path, tmp_path: Path, *more: object) -> tuple[int, str]:
    done = run_command(
        "preprocess", "build-shards", "--csv", csv, "--out", tmp_path / "out", "--jobs", "1", *more
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no CSV at"),
        ("", "is empty"),
        (HEADER, "has a header and no rows"),
        (HEADER.replace("File Path", "File Pth") + "a\\b\\c.dcm,L,CC,1,0,0\n", "is it 'File Pth'?"),
        (HEADER.replace(",Cancer", "") + "a\\b\\c.dcm,L,CC,1,0\n", "no column 'Cancer'"),
        (HEADER + "a\\b\\c.dcm,L,CC,66,0,0\n", "the only image cannot be used"),
    ],
)
def test_a_table_that_cannot_be_used_ends_in_one_sentence(
    content: str | None, says: str, tmp_path: Path
) -> None:
    table = tmp_path / "meta.csv"
    if content is not None:
        table.write_text(content, encoding="utf-8")
    code, stderr = build(table, tmp_path)
    assert code == 1
    assert says in stderr
    assert "Traceback" not in stderr
    assert stderr.count("\n") == 1


def test_a_folder_without_images_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text(HEADER + "a\\b\\c.dcm,L,CC,66,0,0\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    code, stderr = build(tmp_path / "meta.csv", tmp_path, "--images", tmp_path / "empty")
    assert code == 1
    assert str(tmp_path / "empty") in stderr
    assert "--images" in stderr
    assert (tmp_path / "out" / "images.csv").exists()


def test_a_text_file_called_dcm_is_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.dcm").write_text("not an image")
    (tmp_path / "meta.csv").write_text(HEADER + "a\\b\\c.dcm,L,CC,66,0,0\n", encoding="utf-8")
    code, stderr = build(tmp_path / "meta.csv", tmp_path)
    assert code == 1
    assert "not a DICOM file" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--split", "80/20", "three shares"),
        ("--resolution", "4", "--resolution 4"),
        ("--stride", "0", "--stride 0"),
        ("--min-foreground", "3", "--min-foreground 3"),
        ("--images", "nowhere", "there is no folder nowhere"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(option: str, value: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text(HEADER + "a\\b\\c.dcm,L,CC,66,0,0\n", encoding="utf-8")
    code, stderr = build(tmp_path / "meta.csv", tmp_path, option, value)
    assert code == 1
    assert says in stderr
    assert "Traceback" not in stderr


def test_a_missing_option_is_a_usage_error(tmp_path: Path) -> None:
    done = run_command("preprocess", "build-shards", "--out", tmp_path)
    assert done.returncode == 2
    assert "--csv" in done.stderr


def test_preview_draws_patches_and_masks(dataset_root: Path, tmp_path: Path) -> None:
    from PIL import Image

    done = run_command("preprocess", "preview", "--shards", dataset_root, "--out", tmp_path / "look")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "look" / "images.png") as page:
        colours = {colour for _, colour in page.convert("RGB").getcolors(1 << 24) or []}
    assert (255, 80, 80) in colours  # the outline of a mask
    assert (80, 220, 80) in colours  # the edge of a patch
    with Image.open(tmp_path / "look" / "patches.png") as page:
        assert page.width > 1000


def test_help_is_there_without_any_heavy_import() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "for name in ('preprocess', 'train', 'generate'):\n"
        "    __import__(f'nlbs.{name}.cli')\n"
        "print([m for m in ('torch', 'pydicom', 'pandas', 'pyarrow', 'zarr', 'scipy', 'joblib') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
