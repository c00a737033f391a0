"""What tests of benchmarks share that train variants of presets: a small shard set, and words of a quick call."""

from pathlib import Path

import pytest

from tests.shards.conftest import make_shard_set


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A set of 64 patches of eight patients, half of them to learn from."""
    splits = [split for split in ("train", "train", "val", "test") for _ in range(16)]
    make_shard_set(tmp_path / "set", patches=64, resolution=32, columns={"split": splits})
    return tmp_path / "set"


def quick_call(shards: Path, *more: object) -> list[str]:
    """Returns the options of a call that takes seconds, its runs beside the set."""
    tiny = ["--patches", 32, "--seeds", 2, "--num", 16, "--extractor", "random-convolutions", "--quick"]
    return [str(word) for word in ("--shards", shards, "--out", shards.parent / "runs", *tiny, *more)]
