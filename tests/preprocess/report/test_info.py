"""What info says of a shard set."""

import json
from pathlib import Path

import numpy as np
import zarr

from nlbs.preprocess.report.info import expected_distinct, info_lines, shard_set_info
from nlbs.shards import open_shards
from tests.conftest import run_command
from tests.shards.conftest import make_shard_set


def test_the_mix_of_a_batch_is_what_drawing_many_batches_gives() -> None:
    patches = np.array([1, 5, 20, 3, 3, 8])
    images = np.repeat(np.arange(6), patches)
    generator = np.random.default_rng(0)
    drawn = [len(np.unique(generator.permutation(images)[:7])) for _ in range(4000)]
    error = 4 * np.std(drawn) / np.sqrt(len(drawn))
    assert abs(expected_distinct(patches, 7) - np.mean(drawn)) < error


def test_a_whole_epoch_mixes_all_images_and_one_patch_mixes_one() -> None:
    patches = np.array([4, 2, 9])
    assert expected_distinct(patches, 15) == 3
    assert np.isclose(expected_distinct(patches, 1), 1)


def test_a_million_images_of_few_sizes_take_little_memory_and_the_formula_stays_exact() -> None:
    patches = np.tile([10, 20], 500_000)
    # Nearly with replacement: a batch of 64 hardly ever has two patches of one image.
    assert 63.99 < expected_distinct(patches, 64) <= 64


def test_counts_and_sizes_are_those_of_the_manifest_and_the_disk(dataset_root: Path) -> None:
    shards = open_shards(dataset_root)
    info = shard_set_info(shards)
    frame = shards.manifest.to_pandas()
    assert info["counts"]["all"] == {
        "patches": len(frame),
        "images": frame["image"].nunique(),
        "patients": frame["patient"].nunique(),
    }
    assert info["bytes"] == sum(path.stat().st_size for path in shards.folder.glob("*.tar"))
    raw = sum(
        array[...].nbytes for _, array in zarr.open_group(dataset_root / "images.zarr", mode="r").arrays()
    )
    size = sum(path.stat().st_size for path in (dataset_root / "images.zarr").rglob("*") if path.is_file())
    assert info["store"] == {"images": 16, "bytes": size, "raw_bytes": raw, "ratio": round(raw / size, 3)}
    text = "\n".join(info_lines(info))
    unknown = frame["age_bin"].isna()
    assert "age bin unknown" in text
    assert info["conditions"]["age_bin"]["unknown"]["all"]["patches"] == unknown.sum()


def test_the_mix_of_patients_is_counted_too(dataset_root: Path) -> None:
    shards = open_shards(dataset_root)
    frame = shards.manifest.to_pandas()
    train = frame[frame["split"] == "train"]
    mix = shard_set_info(shards, batch_size=3)["batch"]["train"]
    generator = np.random.default_rng(0)
    for name, key in (("images", "image"), ("patients", "patient")):
        codes = train[key].cat.codes.to_numpy()
        drawn = [len(np.unique(generator.choice(codes, 3, replace=False))) for _ in range(4000)]
        assert abs(mix[name] - np.mean(drawn)) < 4 * np.std(drawn) / np.sqrt(len(drawn)) + 1e-4
        assert mix[f"of_{name}"] == train[key].nunique()


def test_a_set_without_its_store_says_so_and_machines_get_json(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "root" / "r16-s16")
    done = run_command("preprocess", "info", "--shards", tmp_path / "root", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["store"] is None
    done = run_command("preprocess", "info", "--shards", tmp_path / "root")
    assert "without the decoded images" in done.stdout
