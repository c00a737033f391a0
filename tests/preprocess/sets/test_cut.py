"""What a shard set is cut as: containers, compression, dtype, whole breasts, a common spacing.

Also covers: preprocess/sets/plan.py.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import zarr
from click.testing import CliRunner
from PIL import Image

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.preprocess.build import reshard
from nlbs.preprocess.cli import cli
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore, run_lengths
from nlbs.preprocess.report.preview import write_preview
from nlbs.preprocess.report.summary import cut_summary
from nlbs.preprocess.sets.cut import CutSummary, cut_shard_set
from nlbs.preprocess.sets.plan import LabelledImage
from nlbs.preprocess.sets.repair import repair
from nlbs.preprocess.workers import Workers
from nlbs.shards import open_shards
from nlbs.shards.format.verify import damages
from tests.conftest import run_command, some

MM = 0.1  # between the pixels of the images below
ROWS, COLUMNS = 240, 120


def breast(number: int, dtype: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """A half disc at the left (even number) or the right, and its mask on a grid of 4 pixels."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    inside = np.hypot(y - ROWS / 2 + 0.5, x + 0.5) < 110
    noise = np.random.default_rng(number).integers(1, np.iinfo(dtype).max, inside.shape, dtype=dtype)
    pixels = np.where(inside, noise, 0).astype(dtype)
    bits = inside[2::4, 2::4]
    return (pixels, bits) if number % 2 == 0 else (pixels[:, ::-1], bits[:, ::-1])


def make_store(root: Path, dtype: str = "uint8", spacings: tuple[Any, ...] = ([MM, MM],) * 4) -> None:
    """Makes a dataset root of as many images as there are spacings; the crop begins at (10, 20) of the source."""
    store = ImageStore.open(root / "images.zarr", {"dtype": dtype, "voi": "auto"})
    lines = ["image,status,view,laterality,age_years,age_bin,cancer,false_positive,patient,split"]
    for number, spacing in enumerate(spacings):
        pixels, bits = breast(number, dtype)
        mask = {"step": 4, "rows": bits.shape[0], "columns": bits.shape[1], "runs": run_lengths(bits)}
        crop = {"crop_y": 10, "crop_x": 20, "crop_rows": ROWS, "crop_columns": COLUMNS}
        store.put(f"{number:016x}", pixels, {**crop, "spacing_mm": spacing, "mask": mask})
        lines.append(f"{number:016x},ok,CC,L,50,1,0,,p{number:012x},train")
    (root / "images.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def cut(root: Path, **options: Any) -> CutSummary:
    return reshard(
        root, CutOptions(**{"resolution": 32, "stride": 32, **options}), workers=Workers(1), overwrite=False
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


KINDS: list[tuple[dict[str, Any], str]] = [
    ({}, "r32-s32"),
    ({"compression": "png"}, "r32-s32-png"),
    ({"container": "zarr"}, "r32-s32-zarr"),
    ({"container": "zarr", "compression": "zstd"}, "r32-s32-zarr-zstd"),
    ({"mode": "whole"}, "whole-r32"),
    ({"mode": "whole", "container": "zarr"}, "whole-r32-zarr"),
    ({"spacing_mm": 0.25}, "r32-s32-0.25mm"),
    ({"spacing_mm": 0.25, "dtype": "uint8", "compression": "png"}, "r32-s32-0.25mm-uint8-png"),
    ({"dtype": "uint8"}, "r32-s32-uint8"),
    ({"dtype": "uint16"}, "r32-s32"),
]


@pytest.mark.parametrize(("options", "name"), KINDS)
def test_every_kind_has_a_name_of_its_own_and_is_restored_to_the_byte(
    tmp_path: Path, options: dict[str, Any], name: str
) -> None:
    make_store(tmp_path, "uint16")
    summary = cut(tmp_path, **options)
    folder = tmp_path / name
    assert summary.folder == folder
    assert cut(tmp_path, **options).reused == summary.shards
    before = digests(folder)
    shards = open_shards(folder)
    assert shards.read(shards.rows()).shape == (summary.patches, 32, 32)
    assert CutOptions.from_parameters(shards.parameters).parameters() == {
        key: shards.parameters[key] for key in CutOptions().parameters()
    }
    write_preview(folder, tmp_path / "look", 4, 4, 0)

    moved = folder.rename(tmp_path / "mine")  # a set may have any name
    shard = sorted(path for path in moved.rglob("*") if path.is_file() and path.parent.name != "parts")[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert list(damages(moved))
    repair(moved, Workers(1))
    assert list(damages(moved)) == []
    assert digests(moved) == before
    assert not folder.exists()


def test_containers_and_compressions_change_no_pixel_and_no_order(tmp_path: Path) -> None:
    make_store(tmp_path)
    plain = open_shards(cut(tmp_path).folder)
    frame = plain.manifest.to_pandas().drop(columns=["shard", "offset", "nbytes", "crc32c"])
    for options, _ in KINDS[1:4]:
        other = open_shards(cut(tmp_path, **options).folder)
        np.testing.assert_array_equal(other.read(other.rows()), plain.read(plain.rows()))
        pd.testing.assert_frame_equal(other.manifest.to_pandas()[frame.columns], frame)
        assert other.info["content_id"] == plain.info["content_id"]
        assert other.dataset_id != plain.dataset_id


def test_zarr_and_pillow_read_what_the_manifest_says(tmp_path: Path) -> None:
    make_store(tmp_path, "uint16")
    plain = open_shards(cut(tmp_path).folder)
    pixels, rows = plain.read(plain.rows()), plain.manifest.to_pylist()
    packed = cut(tmp_path, container="zarr", compression="zstd").folder
    names = [shard["name"] for shard in json.loads((packed / "shard_set.json").read_text())["shards"]]
    arrays = [zarr.open_array(packed / name, mode="r")[...] for name in names]
    np.testing.assert_array_equal(np.concatenate(arrays), pixels)
    png = cut(tmp_path, compression="png").folder
    for number, patch in some(enumerate(open_shards(png).manifest.to_pylist())):
        with (png / patch["shard"]).open("rb") as file:
            file.seek(patch["offset"])
            (tmp_path / "patch.png").write_bytes(file.read(patch["nbytes"]))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "patch.png")), pixels[number])
        assert patch["image"] == rows[number]["image"]


def test_patches_of_a_uint16_store_become_uint8_by_rounding(tmp_path: Path) -> None:
    make_store(tmp_path, "uint16")
    wide, narrow = (open_shards(cut(tmp_path, dtype=dtype).folder) for dtype in (None, "uint8"))
    assert narrow.dtype == np.uint8
    assert narrow.parameters["dtype"] == "uint8"
    exact = wide.read(wide.rows()).astype(np.int64)
    by_place = {(r["image"], r["y"], r["x"]): n for n, r in enumerate(narrow.manifest.to_pylist())}
    order = [by_place[r["image"], r["y"], r["x"]] for r in wide.manifest.to_pylist()]
    np.testing.assert_array_equal(narrow.read(order), (2 * exact + 257) // 514)


def test_a_uint8_store_does_not_become_uint16(tmp_path: Path) -> None:
    make_store(tmp_path)
    with pytest.raises(ConfigError, match="build again into another folder with build-shards --dtype uint16"):
        cut(tmp_path, dtype="uint16")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "images.csv", "images.zarr"]


def test_a_whole_breast_is_one_patch_at_the_border_with_its_chest_wall(tmp_path: Path) -> None:
    make_store(tmp_path)
    shards = open_shards(cut(tmp_path, mode="whole", resolution=60).folder)
    assert len(shards) == 4
    assert shards.parameters["stride"] is None
    for patch, pixels in zip(shards.manifest.to_pylist(), shards.read(shards.rows()), strict=True):
        right = int(patch["image"], 16) % 2 == 1
        scale = ROWS / 60  # 4; the breast takes 30 columns of 60
        assert patch["scale"] == scale
        wall, away = (pixels[:, -1], pixels[:, :30]) if right else (pixels[:, 0], pixels[:, 30:])
        assert (wall > 0).mean() > 0.85
        assert not away.any()
        assert patch["foreground"] == pytest.approx(np.pi * 110**2 / 2 / scale**2 / 60**2, rel=0.02)
        # Where the patch begins in the source: at the crop, or beside it where air stands at its left.
        assert (patch["y"], patch["x"]) == (10, 20 + (COLUMNS - 60 * scale if right else 0))


def test_a_common_spacing_brings_images_of_different_ones_to_the_same_size(tmp_path: Path) -> None:
    make_store(tmp_path, spacings=([0.1, 0.1], [0.1, 0.1], [0.2, 0.2], [0.1, 0.2]))
    shards = open_shards(cut(tmp_path, spacing_mm=0.2, min_foreground=0.0).folder)
    mm2 = np.pi * 110**2 / 2  # of the half disc, in pixels of the source
    scales = {patch["image"]: patch["scale"] for patch in shards.manifest.to_pylist()}
    assert [scales[f"{n:016x}"] for n in range(4)] == [2.0, 2.0, 1.0, 2.0]
    fine = open_shards(cut(tmp_path, spacing_mm=0.2, resolution=256, min_foreground=0.0).folder)
    found = dict(
        zip(fine.manifest["image"].to_pylist(), (fine.read(fine.rows()) > 0).sum((1, 2)) * 0.04, strict=True)
    )
    for number, (down, across) in enumerate(([0.1, 0.1], [0.1, 0.1], [0.2, 0.2], [0.1, 0.2])):
        assert found[f"{number:016x}"] == pytest.approx(mm2 * down * across, rel=0.08)
    for patch in some(fine.manifest.to_pylist()):
        number = int(patch["image"], 16)
        down, across = ([0.1, 0.1], [0.1, 0.1], [0.2, 0.2], [0.1, 0.2])[number]
        assert patch["foreground"] * (256 * 0.2) ** 2 == pytest.approx(mm2 * down * across, rel=0.02)


def test_a_patch_of_another_spacing_says_where_it_lies_in_the_source(tmp_path: Path) -> None:
    make_store(tmp_path, spacings=([MM, MM],) * 2)
    shards = open_shards(cut(tmp_path, spacing_mm=0.25, resolution=16, stride=16).folder)
    for patch in some(shards.manifest.to_pylist()):
        assert patch["scale"] == 2.5
        assert (patch["y"] - 10) % 40 == 0 or patch["y"] - 10 == 2.5 * (ROWS / 2.5 - 16)
        mine = breast(int(patch["image"], 16), "uint8")[0]
        part = mine[patch["y"] - 10 :, patch["x"] - 20 :][:40, :40]
        assert patch["foreground"] == pytest.approx((part > 0).mean(), abs=0.06)


def test_images_of_unknown_spacing_are_named_or_left_out_and_counted(tmp_path: Path) -> None:
    make_store(tmp_path, spacings=([MM, MM], None, [MM, MM], None))
    with pytest.raises(DatasetError, match=r"spacing of 2 of 4 images is unknown \(0000000000000.*skip"):
        cut(tmp_path, spacing_mm=0.2)
    summary = cut(tmp_path, spacing_mm=0.2, unknown_spacing="skip")
    assert (summary.images, summary.unknown_spacing) == (2, 2)
    assert "Left out    2 images of unknown spacing" in cut_summary(summary)
    assert cut(tmp_path, spacing_mm=0.2, unknown_spacing="skip").unknown_spacing == 2
    images = set(open_shards(summary.folder).manifest["image"].to_pylist())
    assert images == {f"{0:016x}", f"{2:016x}"}
    assert cut(tmp_path).unknown_spacing == 0


def test_a_spacing_that_must_be_wrong_is_named_before_it_takes_the_memory(tmp_path: Path) -> None:
    make_store(tmp_path, spacings=([MM, MM], [1.0, 1.0]))
    with pytest.raises(DatasetError, match=rf"enlarge 1 of 2 images more than 8 times \({1:016x}\)"):
        cut(tmp_path, spacing_mm=0.1)
    with pytest.raises(DatasetError, match=r"--stride 1 at --spacing-mm 0\.5 is less than a pixel"):
        cut(tmp_path, spacing_mm=0.5, stride=1)


def test_an_interrupted_cut_into_arrays_is_finished_to_the_same_bytes(tmp_path: Path) -> None:
    make_store(tmp_path)
    options = {"container": "zarr", "compression": "zstd"}
    folder = cut(tmp_path, **options).folder
    before = digests(folder)
    (folder / "shard_set.json").unlink()
    (folder / "manifest.arrow").unlink()
    (folder / "00001.zarr" / "c" / "0" / "0" / "0").unlink()  # of a folder that no commit record speaks of
    shutil.copytree(folder / "00002.zarr", folder / ".00002.zarr.1.partial")
    assert cut(tmp_path, **options).reused == 0
    assert digests(folder) == before


def test_another_cut_takes_the_place_of_arrays_only_when_told_to(tmp_path: Path) -> None:
    make_store(tmp_path)
    folder = cut(tmp_path, container="zarr").folder
    (folder / "notes.txt").write_text("mine")
    options = CutOptions(32, 32, 0.9, container="zarr")
    with pytest.raises(DatasetError, match="--overwrite"):
        reshard(tmp_path, options, Workers(1), overwrite=False)
    reshard(tmp_path, options, Workers(1), overwrite=True)
    assert min(open_shards(folder).manifest["foreground"].to_pylist()) >= 0.9
    assert list(damages(folder)) == []
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_shard_without_patches_is_an_array_of_none(tmp_path: Path) -> None:
    make_store(tmp_path)
    store = ImageStore.existing(tmp_path / "images.zarr")
    record = {
        **(store.record(f"{0:016x}") or {}),
        "mask": {"step": 4, "rows": 60, "columns": 30, "runs": [1800]},
    }
    store.put(f"{0:016x}", np.zeros((ROWS, COLUMNS), np.uint8), record)
    images = [LabelledImage(f"{n:016x}", Conditions(), f"p{n:012x}", "train") for n in range(4)]
    options = CutOptions(32, 32, container="zarr")
    summary = cut_shard_set(tmp_path, store, images, options, workers=Workers(1), overwrite=False)
    counts = [shard["patches"] for shard in open_shards(summary.folder).info["shards"]]
    assert sorted(counts)[0] == 0
    empty = f"{counts.index(0):05d}.zarr"
    assert zarr.open_array(summary.folder / empty, mode="r")[...].shape == (0, 32, 32)
    assert list(damages(summary.folder)) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--mode whole --stride 64", "--stride means nothing with --mode whole"),
        ("--mode whole --spacing-mm 0.1", "--spacing-mm means nothing with --mode whole"),
        ("--unknown-spacing skip", "--unknown-spacing means nothing without --spacing-mm"),
        ("--compression zstd", "it goes into zarr; tar takes none and png"),
        ("--container zarr --compression png", "it goes into tar; zarr takes none and zstd"),
    ],
)
def test_options_that_exclude_each_other_are_a_usage_error(tmp_path: Path, options: str, says: str) -> None:
    for command in (["reshard", "--shards"], ["build-shards", "--csv", "meta.csv", "--out"]):
        done = CliRunner().invoke(cli, [*command, str(tmp_path), *options.split()])
        assert done.exit_code == 2
        assert says in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "whole", "spacing_mm": 0.1}, "--spacing-mm means nothing"),
        ({"spacing_mm": 0.0}, "--spacing-mm 0"),
        ({"spacing_mm": float("nan")}, "--spacing-mm nan"),
        ({"compression": "zstd"}, "a tar shard does not hold"),
    ],
)
def test_options_that_no_cut_can_have_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        CutOptions(**options)


def test_a_build_cuts_as_a_reshard_does(phantom: Path, dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    shutil.copy(dataset_root / "images.csv", root)
    shutil.copytree(dataset_root / "images.zarr", root / "images.zarr")
    options = (
        "--mode",
        "whole",
        "--resolution",
        "64",
        "--container",
        "zarr",
        "--compression",
        "zstd",
        "--jobs",
        "1",
    )
    built = run_command(
        "preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", tmp_path / "built", *options
    )
    assert built.returncode == 0, built.stderr
    done = run_command("preprocess", "reshard", "--shards", root, *options)
    assert done.returncode == 0, done.stderr
    cut, whole = (digests(folder / "whole-r64-zarr-zstd") for folder in (root, tmp_path / "built"))
    for card in ("README.md", "croissant.json"):  # a root without any set does not know the dataset's name
        assert cut.pop(card) != whole.pop(card)
    assert cut == whole
    info = run_command("preprocess", "info", "--shards", root / "whole-r64-zarr-zstd")
    assert "the whole breast in each" in info.stdout
    assert "zarr zstd shards" in info.stdout
