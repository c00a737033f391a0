import gc
import threading
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlbs.errors import ConfigError, ShardError
from nlbs.shards import open_shards
from nlbs.shards.order.balance import Balance
from nlbs.train import PatchStream
from tests.conftest import some
from tests.shards.conftest import make_shard_set
from tests.train.conftest import MemoryShards


def seen(stream: PatchStream) -> list[list[int]]:
    return [batch.rows.tolist() for batch in stream]


def all_rows(stream: PatchStream) -> list[int]:
    return list(chain.from_iterable(seen(stream)))


def test_a_batch_holds_the_pixels_and_the_conditions_of_its_rows() -> None:
    shards = MemoryShards()
    for batch in some(PatchStream(shards, batch_size=8)):
        assert batch.pixels.shape == (8, 1, 16, 16)
        assert batch.pixels.dtype == torch.uint8
        np.testing.assert_array_equal(batch.pixels[:, 0].numpy(), shards.pixels[batch.rows])
        assert list(batch.conditions) == ["view", "laterality", "age_bin", "cancer", "false_positive"]
        for name, code in some(batch.conditions.items()):
            assert code.dtype == torch.int64
            np.testing.assert_array_equal(code.numpy(), shards.codes[name][batch.rows])


def test_sixteen_bit_patches_stay_sixteen_bit() -> None:
    shards = MemoryShards(kind=np.uint16)
    batch = next(iter(PatchStream(shards, batch_size=8)))
    assert batch.pixels.dtype == torch.uint16
    np.testing.assert_array_equal(batch.pixels[:, 0].numpy(), shards.pixels[batch.rows])


def test_an_epoch_shows_each_patch_of_the_split_at_most_once_and_drops_the_tail() -> None:
    stream = PatchStream(MemoryShards(train=43), batch_size=8)
    batches = seen(stream)
    rows = list(chain.from_iterable(batches))
    assert [len(batch) for batch in batches] == [8] * 5 == [8] * len(stream)
    assert len(set(rows)) == 40
    assert set(rows) <= set(range(43))


def test_each_epoch_has_another_order_and_another_tail() -> None:
    stream = PatchStream(MemoryShards(train=43), batch_size=8)
    first, second = all_rows(stream), all_rows(stream)
    assert stream.epoch == 2
    assert first != second
    assert set(first) != set(second)


def test_the_order_depends_on_the_seed_only() -> None:
    orders = [seen(PatchStream(MemoryShards(), batch_size=8, seed=seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_evaluation_covers_each_patch_exactly_once_in_order() -> None:
    stream = PatchStream(MemoryShards(val=19), batch_size=8, split="val", order="sequential", drop_last=False)
    assert len(stream) == 3
    for _ in range(2):
        assert all_rows(stream) == list(range(40, 59))


def test_all_patches_are_streamed_without_a_split() -> None:
    stream = PatchStream(MemoryShards(train=10, val=5), batch_size=4, split=None, drop_last=False)
    assert sorted(all_rows(stream)) == list(range(15))


def test_a_stream_continues_exactly_from_any_batch() -> None:
    whole = PatchStream(MemoryShards(), batch_size=8, seed=3)
    undisturbed = [(b.epoch, b.step, b.rows.tolist()) for _ in range(3) for b in whole]
    for start in some(range(len(undisturbed))):
        epoch, step = divmod(start, len(whole))
        stream = PatchStream(MemoryShards(), batch_size=8, seed=3, epoch=epoch, step=step)
        resumed = [(b.epoch, b.step, b.rows.tolist()) for _ in range(3 - epoch) for b in stream]
        assert resumed == undisturbed[start:]


@pytest.mark.parametrize("options", [{}, {"order": "window"}, {"balance": Balance(("cancer",))}])
def test_batches_planned_together_are_those_planned_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    make_shard_set(tmp_path, patches=150, resolution=8)
    shards = open_shards(tmp_path)
    together = PatchStream(shards, batch_size=2, seed=3, **options)
    monkeypatch.setattr("nlbs.train.data.stream._PLACES_PER_PLAN", 1)
    alone = PatchStream(shards, batch_size=2, seed=3, **options)
    places = [(epoch, step) for epoch in range(2) for step in range(len(alone))]
    expected = {place: alone.read(*place) for place in places}
    np.random.default_rng(0).shuffle(places)
    for place in some(places):
        batch = together.read(*place)
        assert batch.rows.tolist() == expected[place].rows.tolist()
        for name, codes in some(batch.conditions.items()):
            assert codes.tolist() == expected[place].conditions[name].tolist()
            np.testing.assert_array_equal(codes.numpy(), shards.conditions(batch.rows)[name])


def test_a_batch_may_be_changed(tmp_path: Path) -> None:
    make_shard_set(tmp_path)
    stream = PatchStream(open_shards(tmp_path), batch_size=2)
    before = stream.read(0, 0)
    for _ in range(2):  # read, and copied from memory
        spoilt = stream.read(0, 0)
        spoilt.pixels.zero_()
        spoilt.rows[:] = 0
        for codes in spoilt.conditions.values():
            codes.zero_()
    after = stream.read(0, 0)
    assert torch.equal(before.pixels, after.pixels)
    assert before.rows.tolist() == after.rows.tolist()
    assert all(torch.equal(before.conditions[name], after.conditions[name]) for name in before.conditions)


def test_the_end_of_an_epoch_is_the_start_of_the_next() -> None:
    stream = PatchStream(MemoryShards(), batch_size=8)
    stream.seek(0, len(stream))
    assert next(iter(stream)).epoch == 1
    with pytest.raises(ValueError, match="no batch 6 in epoch 0; an epoch has 5"):
        stream.seek(0, 6)


def test_a_loop_left_early_changes_nothing() -> None:
    stream = PatchStream(MemoryShards(), batch_size=8)
    first = next(iter(stream)).rows.tolist()
    for batch in stream:
        assert batch.rows.tolist() == first
        break
    assert seen(stream)[0] == first


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nlbs-stream"]


def test_the_thread_ends_when_the_loop_is_left() -> None:
    iterator = iter(PatchStream(MemoryShards(train=400), batch_size=8))
    next(iterator)
    assert len(stream_threads()) == 1
    del iterator
    gc.collect()
    assert not stream_threads()


def test_batches_are_read_ahead_but_not_without_bound() -> None:
    shards = MemoryShards(train=400)
    iterator = iter(PatchStream(shards, batch_size=8))
    next(iterator)
    deadline = time.monotonic() + 60
    while shards.reads < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert 4 <= shards.reads <= 6
    iterator.close()  # type: ignore[attr-defined]


def test_an_error_of_the_reader_is_raised_where_the_loop_is() -> None:
    shards = MemoryShards()
    stream = PatchStream(shards, batch_size=8, order="sequential")
    shards.fails_at_row = 20
    good = []
    with pytest.raises(ShardError, match="patch 20 is damaged"):
        for batch in stream:
            good.append(batch.step)
    assert good == [0, 1]
    assert not stream_threads()
    assert (stream.epoch, stream.step) == (0, 0)


def test_a_code_out_of_range_is_refused() -> None:
    shards = MemoryShards()
    shards.codes["age_bin"][5] = 4
    with pytest.raises(ShardError, match="code 4 for age_bin, expected -1 to 3"):
        seen(PatchStream(shards, batch_size=8))


def test_an_empty_split_and_one_smaller_than_a_batch_are_refused() -> None:
    with pytest.raises(ShardError, match="no patches of the split 'test'"):
        PatchStream(MemoryShards(), batch_size=8, split="test")
    with pytest.raises(ConfigError, match=r"has 7 patches, not enough .* take --batch-size 7 or less"):
        PatchStream(MemoryShards(), batch_size=8, split="val")


def test_a_real_shard_set_streams_what_it_reads(dataset_root: object) -> None:
    with open_shards(dataset_root) as shards:  # type: ignore[arg-type]
        batch = next(iter(PatchStream(shards, batch_size=16)))
        np.testing.assert_array_equal(batch.pixels[:, 0].numpy(), shards.read(batch.rows))
        codes = shards.conditions(batch.rows)
        assert all(np.array_equal(codes[name], code.numpy()) for name, code in batch.conditions.items())
        assert set(batch.rows.tolist()) <= set(shards.rows("train").tolist())


@pytest.mark.parametrize(("container", "compression"), [("tar", "png"), ("zarr", "none"), ("zarr", "zstd")])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_kind_of_shard_streams_the_batches_of_plain_tar(
    tmp_path: Path, container: str, compression: str, dtype: str
) -> None:
    make_shard_set(tmp_path / "plain", patches=40, dtype=dtype)
    make_shard_set(tmp_path / "other", patches=40, dtype=dtype, container=container, compression=compression)
    streams = [PatchStream(open_shards(tmp_path / name), batch_size=8, seed=3) for name in ("plain", "other")]
    for ours, theirs in some(zip(*streams, strict=True)):
        assert theirs.pixels.dtype == getattr(torch, dtype)
        assert torch.equal(ours.pixels, theirs.pixels)
        assert all(
            torch.equal(ours.conditions[name], theirs.conditions[name]) for name in some(ours.conditions)
        )


def test_batches_that_are_kept_are_not_written_to_again() -> None:
    shards = MemoryShards()
    stream = PatchStream(shards, batch_size=8)  # type: ignore[arg-type]
    kept = list(stream)
    for batch in some(kept):
        np.testing.assert_array_equal(batch.pixels.numpy()[:, 0], shards.read(batch.rows))


def test_streams_and_batches_are_short_to_read_and_are_seen_in_a_notebook() -> None:
    stream = PatchStream(MemoryShards(kind=np.uint16), batch_size=8)
    batch = stream.read(0, 3)
    assert repr(batch) == "Batch(8 patches of 1x16x16 uint16, epoch 0, step 3)"
    assert batch._repr_html_().startswith('<img alt="Batch(8 patches')
    assert repr(stream).startswith(
        "PatchStream(split train: 40 patches in 5 batches of 8, order global, next epoch 0"
    )
    assert "<td style='text-align:left'>train: 40 patches in 5 batches of 8</td>" in stream._repr_html_()
