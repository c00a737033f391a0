import numpy as np
import torch

from nlbs.train.buffers import Buffers


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
