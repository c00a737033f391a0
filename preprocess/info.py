"""What a shard set holds, in lines of text."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.shards import ShardSet
from nlbs.shards.manifest import indices


def shard_set_info(shards: ShardSet, batch_size: int = 64) -> list[str]:
    """Gives parameters, sizes and counts of a shard set, and how well a batch mixes its images."""
    info, counts = shards.info, shards.info["counts"]
    cut = shards.parameters
    size = sum(shard["bytes"] for shard in info["shards"])
    lines = [
        f"Shard set       {shards.folder}  (id {shards.dataset_id[:12]}, format version {info['format_version']})",
        f"Patches         {counts['patches']:,} of {cut['resolution']}x{cut['resolution']} {cut['dtype']}, stride "
        f"{cut['stride']}, at least {100 * cut['min_foreground']:g} % breast",
        f"From            {counts['images']:,} images of {counts['patients']:,} patients",
        f"On disk         {size / 1e6:,.1f} MB in {len(info['shards'])} {cut['container']} shards",
    ]
    if shards.generation > 1:
        earlier = [
            f"{number}: {entry['images']:,} images in {entry['shards']:,} shards"
            for number, entry in enumerate(info["history"], start=1)
        ]
        now = f"{shards.generation}: {counts['images']:,} in {len(info['shards']):,}"
        lines.append(f"Generations     {'; '.join([*earlier, now])}")
    for name in ("split", "view", "laterality", "age_bin", "cancer", "false_positive"):
        values = ", ".join(f"{value} {count:,}" for value, count in counts[name].items() if count)
        lines.append(f"{name.replace('_', ' ').capitalize():<14}  {values}")
    for split in ("train", "val", "test"):
        rows = shards.rows(split)
        if len(rows):
            patches = np.bincount(indices(shards.manifest["image"]).to_numpy()[rows])
            batch = min(batch_size, len(rows))
            mixed = expected_distinct(patches[patches > 0], batch)
            lines.append(
                f"{'A batch':<16}of {batch} random {split} patches mixes {mixed:.1f} images of "
                f"{np.count_nonzero(patches)} on average"
            )
    return lines


def expected_distinct(patches: npt.NDArray[Any], batch: int) -> float:
    """Gives how many images a batch of patches drawn without replacement comes from, on average.

    An image with k of n patches is missing from a batch of b with probability C(n-k, b) / C(n, b).

    Args:
        patches: (images,) how many patches each image has.
        batch: patches in a batch, at most their sum.
    """
    total = int(patches.sum())
    drawn = np.arange(batch)
    left = total - patches.astype(np.float64)[:, None] - drawn
    missing = np.prod(np.maximum(left, 0) / (total - drawn), axis=1)
    return float((1 - missing).sum())
