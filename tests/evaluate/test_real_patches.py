"""Which patches a model is judged on, and how they come to its size."""

import json
from pathlib import Path

import numpy as np
import pytest

from nlbs.errors import ConfigError, ShardError
from nlbs.evaluate.real_patches import crop, downsample, read_patches, rows_to_judge_on, subsample
from nlbs.shards import open_shards
from tests.shards.conftest import make_shard_set


def by_patient(patches: int = 48) -> dict[str, list[str]]:
    """Splits of whole patients, who have 8 patches each: train, train, val, test, ..."""
    turn = ("train", "train", "val", "test")
    return {"split": [turn[row // 8 % 4] for row in range(patches)]}


def test_the_training_split_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    make_shard_set(tmp_path, 48, columns=by_patient())
    shards = open_shards(tmp_path)
    with pytest.raises(ConfigError, match="--allow-train"):
        rows_to_judge_on(shards, "train", None)
    assert len(rows_to_judge_on(shards, "train", None, allow_train=True)) == 32
    assert len(rows_to_judge_on(shards, "test", None)) == 8


def test_a_patient_in_both_splits_is_refused(tmp_path: Path) -> None:
    make_shard_set(tmp_path, 16)  # its splits take turns within each patient
    with pytest.raises(
        ShardError, match=r"2 patients .* stand in the training split and in the one to judge on"
    ):
        rows_to_judge_on(open_shards(tmp_path), "test", None)


def test_synthetic_patches_are_never_judged_on_as_real_ones(tmp_path: Path) -> None:
    make_shard_set(tmp_path, 48, columns=by_patient())
    info = json.loads((tmp_path / "shard_set.json").read_text())
    synthetic = {"model": "0123456789abcdef", "sampler": "prior", "seed": 0, "conditions": "all"}
    (tmp_path / "shard_set.json").write_text(json.dumps({**info, "synthetic": synthetic}))
    shards = open_shards(tmp_path)
    for split in ("test", "train"):
        with pytest.raises(ConfigError, match="synthetic patches, drawn by model 0123456789abcdef; expected"):
            rows_to_judge_on(shards, split, None, allow_train=True)


def test_an_empty_choice_says_what_there_is(tmp_path: Path) -> None:
    make_shard_set(tmp_path, 16, columns={"split": ["train"] * 8 + ["val"] * 8})
    with pytest.raises(ConfigError, match=r"test .* has no patch \(patches: train 8, val 8, test 0\)"):
        rows_to_judge_on(open_shards(tmp_path), "test", None)


def test_patches_come_with_what_is_known_of_them(tmp_path: Path) -> None:
    pixels = make_shard_set(tmp_path, 48, columns=by_patient())
    shards = open_shards(tmp_path)
    rows = rows_to_judge_on(shards, "val", None)
    found = read_patches(shards, rows, 16)
    np.testing.assert_array_equal(found.pixels, pixels[rows])
    np.testing.assert_array_equal(found.conditions["cancer"], shards.conditions(rows)["cancer"])
    assert len(set(found.patients)) == 1  # of six patients the third
    np.testing.assert_array_equal(found.take([2]).pixels, pixels[rows[[2]]])


def test_smaller_patches_than_the_models_are_refused(tmp_path: Path) -> None:
    make_shard_set(tmp_path, 48, columns=by_patient())
    shards = open_shards(tmp_path)
    with pytest.raises(ConfigError, match="16 x 16, smaller than the model's 32 x 32"):
        read_patches(shards, shards.rows("val"), 32)


def test_a_patch_is_reduced_to_the_means_of_its_areas() -> None:
    wide = np.random.default_rng(0).integers(0, 65536, (3, 12, 12)).astype(np.uint16)
    expected = wide.reshape(3, 4, 3, 4, 3).mean(axis=(2, 4)) / 257
    assert np.abs(downsample(wide, 4) - expected).max() <= 0.5 + 1e-3


def test_a_crop_is_the_centre() -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(1, 6, 6)
    np.testing.assert_array_equal(crop(pixels, 2), [[[14, 15], [20, 21]]])


def test_each_patient_has_a_share_and_more_include_fewer() -> None:
    patients = np.repeat([0, 1, 2, 3], [400, 200, 100, 100])
    few, many = subsample(patients, 40, seed=1), subsample(patients, 120, seed=1)
    assert len(set(few)) == 40
    assert set(few) <= set(many)
    assert np.abs(np.bincount(patients[few], minlength=4) - [20, 10, 5, 5]).max() <= 1
    assert not np.array_equal(few, subsample(patients, 40, seed=2))
    assert len(subsample(patients, 10_000, seed=1)) == 800
