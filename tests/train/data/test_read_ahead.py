"""Batches that a thread reads ahead."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from nlbs.train.data.read_ahead import Buffers
from nlbs.train.data.stream import PatchStream
from tests.conftest import some
from tests.train.conftest import MemoryShards


def test_an_array_comes_again_once_nobody_holds_it() -> None:
    buffers = Buffers()
    first = buffers.take((2, 3), np.uint8)
    address = first.ctypes.data
    second = buffers.take((2, 3), np.uint8)
    assert second.ctypes.data != address
    del first
    assert buffers.take((2, 3), np.uint8).ctypes.data == address


def test_a_tensor_a_slice_of_it_and_an_array_of_that_hold_it() -> None:
    buffers = Buffers()
    held = torch.from_numpy(buffers.take((2, 3), np.uint8))
    address = held.data_ptr()
    part = held.unsqueeze(1)[1:]
    del held
    assert buffers.take((2, 3), np.uint8).ctypes.data != address
    array = part.numpy()
    del part
    assert buffers.take((2, 3), np.uint8).ctypes.data != address
    del array
    assert buffers.take((2, 3), np.uint8).ctypes.data == address


def test_another_shape_or_type_is_another_array() -> None:
    buffers = Buffers()
    for shape, kind in (((2, 3), np.uint8), ((3, 2), np.uint8), ((2, 3), np.uint16)):
        array = buffers.take(shape, kind)
        assert (array.shape, array.dtype) == (shape, kind)


def test_who_keeps_all_gets_all() -> None:
    buffers = Buffers()
    kept = [buffers.take((4,), np.uint8) for _ in range(40)]
    assert len({array.ctypes.data for array in kept}) == 40


def test_an_array_that_a_finaliser_saves_from_the_collector_is_held() -> None:
    """Whatever a cycle does to its end: memory that can still be seen is not given to another."""
    buffers, saved = Buffers(), []

    class Owner:
        def __init__(self) -> None:
            self.me, self.array = self, buffers.take((4,), np.uint8)

        def __del__(self) -> None:
            saved.append(self.array)

    Owner()
    gc.collect()
    assert len(saved) == 1
    assert buffers.take((4,), np.uint8).ctypes.data != saved[0].ctypes.data


def test_threads_that_take_and_drop_never_share_an_array() -> None:
    buffers = Buffers()

    def work(number: int) -> bool:
        for _ in range(300):
            array = buffers.take((64,), np.uint8)
            array[:] = number
            time.sleep(0)
            if not (array == number).all():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_a_list_of_a_streams_batches_has_each_batch_as_it_was_read() -> None:
    shards = MemoryShards(train=48, val=1)
    stream = PatchStream(shards, 4, seed=3)  # type: ignore[arg-type]
    batches = list(stream)
    assert len({batch.pixels.data_ptr() for batch in batches}) == len(batches) == 12
    for batch in batches:
        np.testing.assert_array_equal(batch.pixels[:, 0].numpy(), shards.pixels[batch.rows])


def test_a_slice_that_is_kept_of_each_batch_stays_as_it_was() -> None:
    shards = MemoryShards(train=48, val=1)
    kept = [(batch.rows[1], batch.pixels[1, 0, 2:9].numpy()) for batch in PatchStream(shards, 4)]  # type: ignore[arg-type]
    for row, part in some(kept):
        np.testing.assert_array_equal(part, shards.pixels[row, 2:9])


def test_a_loop_that_keeps_nothing_comes_back_to_the_same_few_arrays() -> None:
    shards = MemoryShards(train=400, val=1)
    assert len({batch.pixels.data_ptr() for batch in PatchStream(shards, 4)}) <= 8  # type: ignore[arg-type]
