"""Synthetic patches as a shard set: readable by all that reads shard sets, and synthetic wherever one looks."""

import json
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import webdataset
from PIL import Image

from nlbs.errors import DatasetError
from nlbs.generate import shard_folder as synthetic_set
from nlbs.manifests.schema import NLBS
from nlbs.preprocess.report.info import info_lines, shard_set_info
from nlbs.preprocess.report.preview import write_preview
from nlbs.preprocess.sets.convert import ConvertOptions, convert
from nlbs.preprocess.workers import Workers
from nlbs.shards import open_shards
from nlbs.shards.format.verify import damages
from nlbs.shards.reading.mixed_sets import MixedSource
from nlbs.train import PatchStream
from tests.generate.conftest import Generate, contents
from tests.shards.conftest import make_shard_set
from tests.test_format_references import SHARDS, named_first

GRID = ("--grid", "--view", "CC", "--num", 2, "--format", "shards")  # 64 patches


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 16 patches."""
    monkeypatch.setattr(synthetic_set, "_MOST_PATCHES", 16)


@pytest.fixture
def folder(generate: Generate, tmp_path: Path, small_shards: None) -> Path:
    assert generate(*GRID, "--out", tmp_path / "set").code == 0
    return tmp_path / "set" / "r32-synthetic"


def test_the_set_opens_and_holds_the_patches_that_the_pngs_show(
    folder: Path, generate: Generate, tmp_path: Path
) -> None:
    assert generate(*GRID[:-2], "--out", tmp_path / "png").code == 0
    with open_shards(folder.parent) as shards:
        pixels, codes = shards.read(np.arange(64)), shards.conditions()
        assert len(shards.info["shards"]) == 4
        assert shards.rows("train").tolist() == list(range(64))
        manifest = shards.manifest.to_pylist()
    for index in (0, 17, 63):
        png = np.asarray(Image.open(tmp_path / "png" / f"synthetic-{index:06d}.png"))
        np.testing.assert_array_equal(pixels[index], png)
        assert manifest[index]["foreground"] == pytest.approx((png > 0).mean(), abs=1e-4)
    every = {tuple(int(codes[name][i]) for name in NLBS.names) for i in range(64)}
    assert len(every) == 32
    assert set(codes["view"].tolist()) == {0}
    assert list(damages(folder)) == []


def test_a_preview_of_it_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"synthetic patches, which come from no image"):
        write_preview(folder, tmp_path / "look", 4, 4, 0)


def test_every_record_says_that_it_is_synthetic_and_no_image_or_patient_is_a_real_one(folder: Path) -> None:
    info = json.loads((folder / "shard_set.json").read_text())
    said = info["synthetic"]
    assert said["synthetic"] is True
    assert (said["seed"], said["sampler"], said["patches"]) == (0, "prior, temperature 1", 64)
    assert said["conditions"] == "every combination of known values"
    names = [str(folder / shard["name"]) for shard in info["shards"]]
    samples = list(webdataset.WebDataset(names, shardshuffle=False).decode())
    assert len(samples) == 64
    for sample in samples:
        assert sample["npy"].shape == (32, 32)
        record = sample["json"]
        assert (record["synthetic"], record["model"], record["seed"]) == ("yes", said["model"], "0")
        assert record["image"].startswith("s")
        assert record["patient"].startswith("s")
        assert not {"path", "row"} & set(record)
    assert len({sample["json"]["patient"] for sample in samples}) == 64
    assert len({sample["json"]["image"] for sample in samples}) == 64


def test_the_reference_names_every_key_and_column_of_a_synthetic_set(folder: Path) -> None:
    info = json.loads((folder / "shard_set.json").read_text())
    known = named_first(SHARDS, "shard_set.json")
    assert set(info) - known == {"synthetic"}
    section = SHARDS.split("\n## Synthetic shard sets\n")[1].split("\n## ")[0]
    with open_shards(folder) as shards:
        extra = shards.manifest.column_names[17:]
    assert extra == ["synthetic", "model", "seed", "sampler"]
    for name in (*extra, *info["synthetic"], '"synthetic"'):
        assert f"`{name}`" in section


@pytest.mark.parametrize("fault", ["shard", "record", "manifest"])
def test_a_set_that_is_interrupted_is_continued_to_the_same_bytes(
    fault: str,
    generate: Generate,
    tmp_path: Path,
    small_shards: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert generate(*GRID, "--out", tmp_path / "whole").code == 0
    calls = 0
    name = {"shard": "write_shard", "record": "write_part", "manifest": "finish_set"}[fault]
    plain = getattr(synthetic_set, name)

    def failing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if fault == "manifest" or calls == 3:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(synthetic_set, name, failing)
    assert generate(*GRID, "--out", tmp_path / "broken").code == 130
    monkeypatch.setattr(synthetic_set, name, plain)
    broken = tmp_path / "broken" / "r32-synthetic"
    assert not (broken / "shard_set.json").exists()
    assert "of another call, not all" in generate("--num", 1, "--out", tmp_path / "broken").err
    drawn: list[int] = []
    whole_row = synthetic_set.manifest_row

    def counted(plan: Any, index: int, *rest: Any) -> Any:
        drawn.append(index)
        return whole_row(plan, index, *rest)

    monkeypatch.setattr(synthetic_set, "manifest_row", counted)
    assert generate(*GRID, "--out", tmp_path / "broken").code == 0
    assert drawn == list(range({"shard": 32, "record": 32, "manifest": 64}[fault], 64))
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_another_set_is_refused_and_replaced_only_when_told(
    folder: Path, generate: Generate, tmp_path: Path
) -> None:
    root = folder.parent
    before = contents(root)
    assert "nothing was left to do" in generate(*GRID, "--out", root).out
    assert generate(*GRID, "--seed", 1, "--out", root).code == 1
    assert contents(root) == before
    assert generate(*GRID, "--seed", 1, "--out", root, "--overwrite").code == 0
    assert generate(*GRID, "--seed", 1, "--out", tmp_path / "fresh").code == 0
    assert contents(root) == contents(tmp_path / "fresh")
    with open_shards(root) as one:
        assert one.dataset_id != json.loads(json.dumps(before)).get("dataset_id")


def test_it_moves_to_zarr_and_back_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    zarr, back = tmp_path / "zarr", tmp_path / "back"
    convert(folder, ConvertOptions("zarr", "zstd", zarr, Workers(1)))
    convert(zarr, ConvertOptions("tar", "none", back, Workers(1)))
    assert contents(back) == contents(folder)


def test_it_is_trained_on_alone_and_mixed_with_real_patches(folder: Path, tmp_path: Path) -> None:
    make_shard_set(tmp_path / "real", patches=40, resolution=32)
    with open_shards(folder) as synthetic, open_shards(tmp_path / "real") as real:
        alone = next(iter(PatchStream(synthetic, batch_size=8, seed=0, split="train")))
        assert alone.pixels.shape == (8, 1, 32, 32)
        mixed = MixedSource([real, synthetic], [0.5, 0.5])
        batch = next(iter(PatchStream(mixed, batch_size=8, seed=0, split="train")))
        assert sorted((np.asarray(batch.rows) >= 40).tolist()) == [False] * 4 + [True] * 4


def test_info_says_that_it_is_synthetic(folder: Path) -> None:
    with open_shards(folder) as shards:
        text = "\n".join(info_lines(shard_set_info(shards)))
    assert "Synthetic       drawn by model" in text
    assert "SYNTHETIC" in text
    assert "None" not in text


def test_checksums_are_those_of_the_pixels(folder: Path) -> None:
    with open_shards(folder) as shards:
        pixels, sums = shards.read([5]), shards.manifest["crc32c"].to_pylist()
    assert google_crc32c.value(pixels[0].tobytes()) == sums[5]
