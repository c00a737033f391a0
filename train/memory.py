"""An estimate of the memory that training takes, without taking it."""

from itertools import product

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from nlbs.models.conditioning import zeros_of
from nlbs.models.contract import Clock
from nlbs.train.config import TrainConfig
from nlbs.train.optimisation import PRECISIONS
from nlbs.train.turns import fresh_model, only

_MIB = 2**20

#: Of the activations: the gradients of the largest of them, and what convolutions need beside them. As measured on
#: a CPU, see benchmarks/step_memory.py.
_BESIDE_ACTIVATIONS = 0.4


class SavedBytes:
    """Counts, while it is entered, what autograd keeps for the backward pass. Every storage counts once."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Take the model, whose own weights do not count."""
        self._own = [parameter.untyped_storage() for parameter in model.parameters()]
        self._own_ids = {id(storage) for storage in self._own}
        self._kept: dict[int, torch.UntypedStorage] = {}
        self._hooks = saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def __enter__(self) -> "SavedBytes":
        """Begin to count."""
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End counting."""
        self._hooks.__exit__(*error)

    @property
    def count(self) -> int:
        """How many bytes were kept."""
        return sum(storage.nbytes() for storage in self._kept.values())

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in self._own_ids:
            self._kept[id(storage)] = storage
        return tensor


def estimate(config: TrainConfig) -> dict[str, int]:
    """Return the bytes that a training step holds, by what they are for.

    Activations are those of a pass of tensors without memory, in the run's precision ("auto" is taken for float32), of
    the largest part of a batch, and of the turn that keeps most, at the start or the end of a run. The libraries
    themselves, some 450 MiB of a process, and a GPU's driver come on top.
    """
    training, resolution = config.training, config.data.resolution
    patches = -(-config.data.batch_size // training.accumulate)
    kind = PRECISIONS.get(training.precision, torch.float32)
    # Not the meta device: it knows no autocast, and attention keeps other things there than on a processor.
    with FakeTensorMode(), torch.device("cpu"):
        model = fresh_model(config)
        pixels = torch.zeros(patches, model.image.channels, resolution, resolution)
        conditions = zeros_of(config.schema, patches)
        turns, kept = model.turns(), 0
        # What takes part late, an adversary say, needs memory too.
        for turn, share in product(turns, (0.0, 1.0)):
            noise = [torch.zeros(patches, *shape) for shape in turn.noise]
            passing = torch.autocast("cpu", kind, enabled=kind != torch.float32)
            with only(turn, model, turns), SavedBytes(model) as saved, passing:
                model.terms(turn.name, pixels, conditions, noise, Clock(0, 1, 0, share))
            kept = max(kept, saved.count)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    sizes = {
        "parameters": weights,
        "gradients": weights,
        "optimiser states": 2 * weights,
    }  # Adam: two moments
    if training.ema_decay is not None:
        sizes["average"] = weights
    beside = round(_BESIDE_ACTIVATIONS * kept)
    return sizes | {f"activations of {patches} patches": kept, "beside them, going backward": beside}


def memory_line(config: TrainConfig) -> str:
    """Return the estimate in words."""
    sizes = estimate(config)
    parts = ", ".join(f"{name} {size / _MIB:,.1f}" for name, size in sizes.items())
    whole = f"{sum(sizes.values()) / _MIB:,.0f} MiB at {config.training.precision}"
    return f"memory of training, an estimate: {whole} ({parts})"
