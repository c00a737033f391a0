import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from nlbs.train.clipping import clip_gradients


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, float("inf"), float("nan")])
def test_gradients_end_as_torch_clips_them(size: float) -> None:
    ours, theirs = ([torch.ones(3, 4, requires_grad=True), torch.ones(5, requires_grad=True)] for _ in "ab")
    torch.manual_seed(0)
    for a, b in zip(ours, theirs, strict=True):
        a.grad = torch.randn_like(a) * size
        b.grad = a.grad.clone()
    norm, expected = clip_gradients(ours, 1.0), clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(norm, expected, rtol=0, atol=0, equal_nan=True)
    if torch.isfinite(expected):  # a step of others is not taken
        for a, b in zip(ours, theirs, strict=True):
            assert a.grad is not None and b.grad is not None
            assert torch.equal(a.grad, b.grad)


def test_weights_without_a_gradient_are_left_out() -> None:
    still, moved = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    moved.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([still, moved], 1.0)) == 5.0
    assert still.grad is None
    torch.testing.assert_close(moved.grad, torch.tensor([0.6, 0.8]))
