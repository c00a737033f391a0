"""Images in colour through every command: a set of red, green and blue is format version 2, and all else stays 1.

Also covers: preprocess/formats/colour.py.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import webdataset
import yaml
import zarr
from PIL import Image
from pydicom.data import get_testdata_file
from scipy import ndimage

from nlbs.errors import ShardError
from nlbs.preprocess.formats.image_errors import UnsupportedImageError
from nlbs.preprocess.formats.image_file import read_image
from nlbs.shards import open_shards
from tests.conftest import run_command, some
from tests.preprocess.roots import files_of, preprocess, read_csv

MAP = ("--map", "path=path,patient=patient,view=view,cancer=cancer")
CUT = ("--resolution", "16", "--stride", "12", "--jobs", "1")
PATIENTS = 16


def picture(seed: int) -> npt.NDArray[np.uint8]:
    """Return smooth colours, (40, 36, 3), as stained tissue has them; one in four is grey, (40, 36)."""
    noise = np.random.default_rng(seed).normal(size=(40, 36, 3))
    smooth = ndimage.gaussian_filter(noise, (2, 2, 0))
    levels = np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    return levels[..., 0] if seed % 4 == 3 else levels


def write_table(folder: Path, patients: range) -> Path:
    """Write the pictures of some patients, PNG and TIFF in turn, and their table."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in patients:
        name = f"{number:02d}.{('png', 'tif')[number % 2]}"
        Image.fromarray(picture(number)).save(folder / name)
        rows.append((name, f"person {number}", ("CC", "MLO")[number // 2 % 2], number % 2))
    table = folder / f"meta-{patients.start}.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "patient", "view", "cancer"), *rows])
    return table


def build(table: Path, out: Path, *more: object) -> str:
    return preprocess(
        "build-shards",
        "--csv",
        table,
        "--out",
        out,
        "--foreground",
        "none",
        "--channels",
        "rgb",
        *MAP,
        *CUT,
        *more,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and a dataset root, shards/. Not to be changed."""
    folder = tmp_path_factory.mktemp("colour")
    build(write_table(folder / "pictures", range(PATIENTS)), folder / "shards")
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "shards", tmp_path / "shards")


def expected_patches(made: Path, root: Path) -> dict[tuple[str, int, int], npt.NDArray[np.uint8]]:
    """Return the pixels of files in colour as Pillow reads them, by image id and place."""
    found = {}
    paths = {row["image"]: made / "pictures" / row["path"] for row in read_csv(root / "sources.csv")}
    with open_shards(root / "r16-s12") as shards:
        for row in shards.manifest.to_pylist():
            with Image.open(paths[row["image"]]) as image:
                if image.mode == "RGB":
                    y, x = row["y"], row["x"]
                    found[row["image"], y, x] = np.asarray(image)[y : y + 16, x : x + 16]
    return found


def test_patches_are_the_pixels_of_the_files_and_the_set_is_version_2(made: Path) -> None:
    root = made / "shards"
    expected = expected_patches(made, root)
    with open_shards(root) as shards:
        assert (shards.info["format_version"], shards.channels, shards.patch_shape) == (2, 3, (16, 16, 3))
        rows, pixels = shards.manifest.to_pylist(), shards.read(np.arange(len(shards)))
        urls = [str(shards.folder / shard["name"]) for shard in shards.info["shards"]]
    assert len(expected) == 9 * 12 < len(rows)
    grey = 0
    for row, patch in zip(rows, pixels, strict=True):
        known = expected.get((row["image"], row["y"], row["x"]))
        if known is None:
            assert (patch == patch[..., :1]).all()
            grey += 1
        else:
            np.testing.assert_array_equal(patch, known)
    assert grey == 9 * 4
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    np.testing.assert_array_equal(np.stack([sample["npy"] for sample in samples]), pixels)
    arrays = dict(zarr.open_group(root / "images.zarr", mode="r").arrays())
    assert {array.shape for array in arrays.values()} == {(40, 36, 3)}
    record = read_csv(root / "images.csv")[0]
    np.testing.assert_array_equal(arrays[record["image"]][...], picture(0))
    assert (record["voi"], record["mask_method"]) == ("full", "none 1")


def test_colours_are_refused_unless_they_are_asked_for(made: Path, tmp_path: Path) -> None:
    table = made / "pictures" / "meta-0.csv"
    preprocess(
        *("build-shards", "--csv", table, "--out", tmp_path / "grey", "--foreground", "none", *MAP, *CUT),
        *("--max-failures", "100"),
    )
    rows = read_csv(tmp_path / "grey" / "images.csv")
    refused = [row for row in rows if row["status"] == "unsupported"]
    assert len(refused) == 12
    assert all("a colour image" in row["reason"] and "--channels rgb" in row["reason"] for row in refused)
    with open_shards(tmp_path / "grey") as shards:
        assert (shards.info["format_version"], shards.channels) == (1, 1)
        assert "channels" not in shards.parameters
    done = run_command(
        *("preprocess", "build-shards", "--csv", table, "--out", tmp_path / "grey", "--foreground", "none"),
        *("--channels", "rgb", *MAP, *CUT),
    )
    assert done.returncode == 1
    assert "channels was None, now 3" in done.stderr


@pytest.mark.parametrize(("version", "channels"), [(1, 3), (2, 1), (2, None), (2, 4)])
def test_a_version_and_channels_that_do_not_fit_are_refused(root: Path, version: int, channels: Any) -> None:
    path = root / "r16-s12" / "shard_set.json"
    info = json.loads(path.read_text())
    info["format_version"], info["parameters"]["channels"] = version, channels
    path.write_text(json.dumps(info))
    with pytest.raises(ShardError, match=r"channels is .* expected [13], by the format version"):
        open_shards(path.parent)


def test_every_container_holds_the_same_colours_and_comes_back_to_the_byte(root: Path) -> None:
    with open_shards(root / "r16-s12") as shards:
        pixels = shards.read(np.arange(len(shards)))
    for container, compression in (("tar", "png"), ("zarr", "none"), ("zarr", "zstd")):
        preprocess(
            *("reshard", "--shards", root, "--container", container, "--compression", compression, *CUT),
        )
        name = f"r16-s12{'-zarr' if container == 'zarr' else ''}{'' if compression == 'none' else '-' + compression}"
        with open_shards(root / name) as shards:
            np.testing.assert_array_equal(shards.read(np.arange(len(shards))), pixels)
    first = zarr.open_array(root / "r16-s12-zarr" / "00000.zarr", mode="r")
    np.testing.assert_array_equal(first[...], pixels[: first.shape[0]])
    preprocess(
        "convert",
        "--shards",
        root / "r16-s12-zarr-zstd",
        "--to",
        "tar",
        "--out",
        root / "back",
        "--jobs",
        "1",
    )
    assert files_of(root / "back") == files_of(root / "r16-s12")
    assert "in colour" in preprocess("info", "--shards", root / "back")


def test_whole_images_are_resampled_channel_by_channel(made: Path, root: Path) -> None:
    preprocess("reshard", "--shards", root, "--mode", "whole", "--resolution", "20", "--jobs", "1")
    paths = {row["image"]: made / "pictures" / row["path"] for row in read_csv(root / "sources.csv")}
    with open_shards(root / "whole-r20") as shards:
        pairs = zip(shards.manifest.to_pylist(), shards.read(np.arange(len(shards))), strict=True)
        for row, patch in some(pairs):
            with Image.open(paths[row["image"]]) as image:
                small = np.asarray(image.convert("RGB").resize((18, 20), Image.Resampling.BILINEAR)).astype(
                    int
                )
                if image.mode == "RGB":  # a grey image goes through its own range first
                    assert np.abs(patch[:, 1:19] - small).max() <= 1
                    assert not patch[:, [0, 19]].any()


def test_damage_is_found_and_repaired_and_sets_grow(made: Path, root: Path) -> None:
    preprocess("reshard", "--shards", root, "--container", "zarr", *CUT)
    before = files_of(root)
    for path in (
        root / "r16-s12" / "00001.tar",
        root / "r16-s12-zarr" / "00002.zarr" / "c" / "0" / "0" / "0" / "0",
    ):
        data = bytearray(path.read_bytes())
        data[700] ^= 1
        path.write_bytes(data)
    done = run_command("preprocess", "verify", "--shards", root)
    assert done.returncode == 1
    assert "00001.tar is not what was written" in done.stdout
    preprocess("verify", "--shards", root, "--repair", "--jobs", "1")
    assert files_of(root) == before
    more = write_table(made / "pictures", range(PATIENTS, PATIENTS + 2))
    preprocess("append", "--csv", more, "--out", root, "--foreground", "none", *MAP, "--jobs", "1")
    with open_shards(root / "r16-s12-zarr") as grown:
        assert (grown.generation, len(grown), grown.info["format_version"]) == (2, 9 * (PATIENTS + 2), 2)
        assert grown.read([len(grown) - 1]).shape == (1, 16, 16, 3)
    for name in ("preview", "report"):
        out = root.parent / ("page.html" if name == "report" else "pages")
        preprocess(name, "--shards", root / "r16-s12", "--out", out)
    with Image.open(root.parent / "pages" / "images.png") as page:
        colours = np.asarray(page).astype(int)
    assert (np.abs(colours[..., 0] - colours[..., 2]) > 40).mean() > 0.2


def test_parts_make_the_same_bytes(made: Path, tmp_path: Path) -> None:
    for part in ("1/2", "2/2"):
        build(made / "pictures" / "meta-0.csv", tmp_path / "shards", "--part", part)
    preprocess("merge", "--shards", tmp_path / "shards", "--jobs", "1")
    assert files_of(tmp_path / "shards" / "r16-s12") == files_of(made / "shards" / "r16-s12")


@pytest.mark.parametrize(
    "name", ["SC_rgb.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_16bit.dcm", "SC_rgb_2frame.dcm"]
)
def test_a_dicom_in_colour_is_read_as_pydicom_reads_it(name: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom's {name} is not here")
    frame = 2 if "2frame" in name else None
    expected = pydicom.pixels.pixel_array(path, index=1 if frame else 0)
    image = read_image(Path(path), frame=frame, colour=True)
    assert image.colour is not None
    np.testing.assert_array_equal(image.colour, expected)
    np.testing.assert_allclose(image.stored, expected @ [0.299, 0.587, 0.114], atol=0.51)
    with pytest.raises(UnsupportedImageError, match=r"3 samples per pixel.*--channels rgb"):
        read_image(Path(path), frame=frame)


TINY: dict[str, Any] = {
    "model": {"widths": [8, 16], "blocks": 1, "embed_dim": 16, "unshuffle": 2, "steps": 3},
    "training": {"epochs": 2, "warmup_steps": 0},
    "data": {"resolution": 16, "batch_size": 16},
}


@pytest.fixture(scope="module")
def run(made: Path) -> Path:
    """A run folder of a diffusion model of 16 x 16 colours. Not to be changed."""
    (made / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    train(made, made / "shards", made / "run", 0)
    return made / "run"


def train(made: Path, shards: Path, run: Path, code: int) -> str:
    done = run_command(
        *("train", "--shards", shards, "--preset", "diffusion-small", "--config", made / "tiny.yaml"),
        *("--run", run, "--device", "cpu"),
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def generated(*arguments: object) -> str:
    done = run_command("generate", *arguments, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_learns_colours_and_its_pages_show_them(made: Path, run: Path, tmp_path: Path) -> None:
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["channels"] == 3
    pages = sorted((run / "samples").glob("*.png"))
    with Image.open(pages[-1]) as page:
        colours = np.asarray(page).astype(int)
    assert (np.abs(colours[..., 0] - colours[..., 2]) > 40).mean() > 0.1


def test_a_run_on_other_channels_is_refused(made: Path, run: Path, tmp_path: Path) -> None:
    preprocess(
        *("build-shards", "--csv", made / "pictures" / "meta-0.csv", "--out", tmp_path / "grey"),
        *("--foreground", "none", "--max-failures", "100", "--split", "50/25/25", *MAP, *CUT),
    )
    shutil.copytree(run, tmp_path / "run")
    (made / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"data": {**TINY["data"], "batch_size": 4}}))
    assert "trained on the shard set with id" in train(made, tmp_path / "grey", tmp_path / "run", 1)
    done = run_command(
        *("generate", "inpaint", "--checkpoint", run, "--shards", tmp_path / "grey", "--device", "cpu"),
        *("--out", tmp_path / "holes"),
    )
    assert done.returncode == 1
    assert "patches of 1 channels, and the model images of 3" in done.stderr


def test_draws_are_colours_as_pictures_shards_and_dicom(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    for kind in ("png", "shards"):
        generated("--checkpoint", run, "--num", "3", "--format", kind, "--out", tmp_path / kind)
    with open_shards(tmp_path / "shards") as shards:
        assert (shards.info["format_version"], shards.channels) == (2, 3)
        pixels = shards.read([0, 1, 2])
    preprocess("verify", "--shards", tmp_path / "shards")
    for kind in ("png", "shards"):
        preprocess("to-dicom", "--samples", tmp_path / kind, "--out", tmp_path / f"{kind}-dicom")
    for number, expected in some(enumerate(pixels)):
        with Image.open(next((tmp_path / "png").glob(f"*{number}.png"))) as image:
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), expected)
        for kind in ("png", "shards"):
            capture = pydicom.dcmread(next((tmp_path / f"{kind}-dicom").glob(f"*{number}.dcm")))
            assert capture.PhotometricInterpretation == "RGB"
            np.testing.assert_array_equal(capture.pixel_array, expected)


def test_editing_keeps_what_is_known_in_every_channel(made: Path, run: Path, tmp_path: Path) -> None:
    generated(
        *("inpaint", "--checkpoint", run, "--shards", made / "shards", "--row", "5", "--box", "4,4,9,12"),
        *("--sampler-steps", "2", "--out", tmp_path / "holes"),
    )
    generated(
        *("superresolve", "--checkpoint", run, "--shards", made / "shards", "--row", "5", "--scale", "4"),
        *("--sampler-steps", "2", "--out", tmp_path / "large"),
    )
    with open_shards(made / "shards") as shards:
        patch = shards.read([5])[0]
    with Image.open(next((tmp_path / "holes").glob("inpainted*.png"))) as image:
        found = np.asarray(image)
    known = np.ones((16, 16), bool)
    known[4:12, 4:9] = False
    np.testing.assert_array_equal(found[known], patch[known])
    with Image.open(next((tmp_path / "large").glob("superresolved*.png"))) as image:
        large = np.asarray(image, dtype=float)
    means = large.reshape(4, 4, 4, 4, 3).mean((1, 3)) - patch.reshape(4, 4, 4, 4, 3).mean((1, 3))
    assert np.abs(means).max() <= 1


def test_a_model_of_colours_is_judged(made: Path, run: Path, tmp_path: Path) -> None:
    done = run_command(
        *("evaluate", "--checkpoint", run, "--shards", made / "shards", "--split", "train"),
        *("--allow-train", "--num", "40", "--extractor", "random-convolutions", "--device", "cpu"),
        *("--only", "galleries,realism", "--out", tmp_path / "report"),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    assert figures["sections"]
