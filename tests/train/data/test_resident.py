"""Pixels that lie on the device: the same batches, bit for bit, and a refusal where they do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlbs.errors import ConfigError
from nlbs.shards import open_shards
from nlbs.shards.order.balance import Balance
from nlbs.shards.reading.mixed_sets import MixedSource
from nlbs.train import PatchStream
from nlbs.train.data import resident
from nlbs.train.data.resident import free_memory, keep_on_device
from tests.conftest import some
from tests.shards.conftest import make_shard_set
from tests.train.conftest import MemoryShards

CPU = torch.device("cpu")


def assert_same(one: PatchStream, other: PatchStream) -> None:
    for ours, theirs in some(zip(one, other, strict=True)):
        assert ours.pixels.dtype == theirs.pixels.dtype
        assert torch.equal(ours.pixels, theirs.pixels)
        assert ours.rows.tolist() == theirs.rows.tolist()
        assert all(
            torch.equal(ours.conditions[name], theirs.conditions[name]) for name in some(ours.conditions)
        )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "options", [{}, {"split": "val", "order": "sequential", "drop_last": False}, {"split": None}]
)
def test_the_batches_are_the_same_and_nothing_more_is_read(kind: type, options: dict[str, Any]) -> None:
    shards = MemoryShards(val=19, kind=kind)
    streams = [PatchStream(shards, batch_size=8, seed=3, **options) for _ in range(2)]
    assert keep_on_device(streams[1], "always", CPU)
    reads = shards.reads
    batch = streams[1].read(0, 0)
    np.testing.assert_array_equal(batch.pixels[:, 0].numpy(), shards.pixels[batch.rows])
    assert shards.reads == reads
    assert_same(*streams)
    assert streams[0].state() == streams[1].state()


def test_filtered_balanced_and_mixed_batches_are_the_same(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "one", patches=60)
    make_shard_set(tmp_path / "two", patches=40, dataset_id="f" * 32, seed=5)
    one, two = open_shards(tmp_path / "one"), open_shards(tmp_path / "two")
    ways: list[tuple[Any, dict[str, Any]]] = [
        (one, {"where": "view == 'CC' or cancer is null", "balance": Balance(("cancer",))}),
        (MixedSource([one, two], [1, 2]), {}),
    ]
    for source, options in some(ways):
        streams = [PatchStream(source, batch_size=8, seed=1, **options) for _ in range(2)]
        assert keep_on_device(streams[1], "always", CPU)
        assert_same(*streams)


def test_a_batch_is_no_part_of_what_is_kept() -> None:
    stream = PatchStream(MemoryShards(), batch_size=8)
    keep_on_device(stream, "always", CPU)
    before = stream.read(0, 0).pixels.clone()
    stream.read(0, 0).pixels.zero_()
    assert torch.equal(stream.read(0, 0).pixels, before)


def test_what_does_not_fit_is_refused_or_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = PatchStream(MemoryShards(), batch_size=8)  # 40 patches of 256 bytes
    monkeypatch.setattr(resident, "free_memory", lambda device: 10_239)
    with pytest.raises(
        ConfigError, match=r"data.resident is always, but the 40 patches of the split 'train' take"
    ):
        keep_on_device(stream, "always", CPU)
    assert not keep_on_device(stream, "auto", torch.device("cuda"))
    assert stream.resident is None
    monkeypatch.setattr(resident, "free_memory", lambda device: 10_240)
    assert keep_on_device(stream, "always", CPU)


def test_auto_leaves_a_cpu_alone_and_never_leaves_all_alone() -> None:
    stream = PatchStream(MemoryShards(), batch_size=8)
    assert not keep_on_device(stream, "auto", CPU)
    assert not keep_on_device(stream, "never", CPU)
    assert stream.resident is None


def test_the_free_memory_of_this_machine_is_a_number_of_bytes() -> None:
    assert 1 << 20 < free_memory(CPU) < 1 << 50
