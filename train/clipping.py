"""Gradients kept below a norm."""

from collections.abc import Iterable

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm


def clip_gradients(parameters: Iterable[Tensor], most: float) -> Tensor:
    """Scales gradients down to a norm where theirs is larger; gives their norm before, a scalar.

    As torch's ``clip_grad_norm_`` to the bit, without its pass over gradients that need no scaling: where looking costs
    nothing, that is on a CPU.
    """
    weights = [weight for weight in parameters if weight.grad is not None]
    if not weights or weights[0].device.type != "cpu":
        return clip_grad_norm_(weights, most)
    norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if bool(norm > most):
        clip_grads_with_norm_(weights, most, norm)
    return norm
