"""What info says of a shard set."""

import numpy as np

from nlbs.preprocess.info import expected_distinct, shard_set_info
from nlbs.shards import open_shards


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


def test_counts_are_those_of_the_manifest(dataset_root) -> None:  # type: ignore[no-untyped-def]
    shards = open_shards(dataset_root)
    text = "\n".join(shard_set_info(shards))
    frame = shards.manifest.to_pandas()
    assert f"{len(frame):,} of 64x64 uint8" in text
    assert f"MLO {(frame['view'] == 'MLO').sum():,}" in text
    assert f"unknown or other {frame['age_bin'].isna().sum():,}" in text
    assert f"train {(frame['split'] == 'train').sum():,}" in text
    assert f"{frame['patient'].nunique():,} patients" in text
