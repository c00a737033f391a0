"""What a run continues from, as a file that may be damaged or somebody else's: read as data, and held against the run.

Nothing is taken from it that is not looked at: its size before it is opened, then names, types, shapes and numbers.
"""

import dataclasses
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlbs.errors import CheckpointError
from nlbs.models.checkpoint import as_data, load_tensors
from nlbs.models.contract import Trainable
from nlbs.text import shown

_MIB = 2**20
_MOST_PICKLED_BYTES = 8 * _MIB  #: of the part that is no tensor's bytes; a byte of it can become 64 of memory
_BESIDE_TENSORS = 64 * _MIB  #: of a state, what is not tensors: options, progress, the zip's own records

_NOT_COUNTED = {
    "best_loss",
    "sums",
    "seconds",
    "training_s",
    "waited_s",
}  #: fields of a progress that are no counts


def load_state(path: Path, most_bytes: int) -> Any:
    """Return what torch.save wrote to a file, on the CPU; no code in it is run, and nothing in it is inflated.

    Args:
        path: the file.
        most_bytes: of its tensors; such a file is some MiB larger.

    Raises:
        CheckpointError: missing, damaged, or larger than a state of this run can be.
    """
    with as_data(path, "is damaged or no state of a run"):
        _check_size(path, most_bytes + _BESIDE_TENSORS)
        return load_tensors(path)


def _check_size(path: Path, most_bytes: int) -> None:
    """Refuse what is no file, or whose zip says that it comes to more than it can be."""
    if not path.is_file():  # a pipe would be waited for
        raise CheckpointError(f"{path} is no file, so no state of a run")
    size = path.stat().st_size
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    packed = any(
        entry.compress_type != zipfile.ZIP_STORED for entry in entries
    )  # torch stores tensors as they are
    inflated = sum(entry.file_size for entry in entries)
    if packed or inflated > size:
        raise CheckpointError(
            f"{path} is no state of a run: it would unpack to {inflated:,} bytes from {size:,}"
        )
    pickled = max((entry.file_size for entry in entries if entry.filename.endswith("data.pkl")), default=0)
    if pickled > _MOST_PICKLED_BYTES:
        raise CheckpointError(f"{path} is no state of a run: beside its tensors it says {pickled:,} bytes")
    if size > most_bytes:
        raise CheckpointError(
            f"{path} is no state of this run: it has {size:,} bytes, and what this model needs is below {most_bytes:,}"
        )


def checked_counts(path: Path, what: str, values: Mapping[str, Any], most: Mapping[str, int]) -> None:
    """Check whole numbers of a state.

    Args:
        path: the file, for messages.
        what: they are of, in words.
        values: name -> number.
        most: name -> the largest that it can be.

    Raises:
        CheckpointError: one is missing, no whole number, below 0 or too large.
    """
    for name, limit in most.items():
        value = values.get(name)
        if type(value) is not int or not 0 <= value <= limit:
            raise CheckpointError(
                f"{path} is spoilt: its {what} has {name} {shown(value)}, expected a whole number from 0 to {limit:,}"
            )


def check_progress(path: Path, values: Any, kind: type, epochs: int, steps_per_epoch: int | None) -> None:
    """Check the fields of a progress.

    Args:
        path: the file, for messages.
        values: of the state.
        kind: the dataclass whose fields it has.
        epochs: of the run.
        steps_per_epoch: of the run; None: what the state says, where that makes sense.

    Raises:
        CheckpointError: a field is missing, too many, of another type, or of an impossible value.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(values, dict) or not {"steps_per_epoch"} <= values.keys() <= known:
        raise CheckpointError(f"{path} is spoilt: it does not say how far the run has come")
    most = steps_per_epoch if steps_per_epoch is not None else 2**40
    checked_counts(path, "progress", values, {"steps_per_epoch": most})
    steps = values["steps_per_epoch"]
    if not steps or steps_per_epoch not in (None, steps):
        raise CheckpointError(
            f"{path} is spoilt: its epochs have {steps:,} steps, those of the run have {most:,}"
        )
    filled = {field.name: field.default for field in dataclasses.fields(kind)} | {"sums": {}} | values
    total = epochs * steps
    limits = {"epoch": epochs, "step": steps, "best_epoch": epochs}
    checked_counts(
        path,
        "progress",
        filled,
        {n: limits.get(n, total) for n in known - _NOT_COUNTED - {"steps_per_epoch"}},
    )
    sums = filled["sums"]
    if not isinstance(sums, dict) or not all(isinstance(name, str) for name in sums):
        raise CheckpointError(f"{path} is spoilt: its progress has no sums of loss terms")
    numbers = {name: filled[name] for name in ("seconds", "training_s", "waited_s")} | sums
    if filled["best_loss"] is not None:
        numbers["best_loss"] = filled["best_loss"]
    check_numbers(path, "progress", numbers)


def check_numbers(path: Path, what: str, values: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a value is no finite number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CheckpointError(
                f"{path} is spoilt: its {what} has {shown(name)} {shown(value)}, expected a number"
            )


def checked_optimizer(
    path: Path, state: Any, parameters: Iterable[Tensor], fewest_steps: int, most_steps: int
) -> dict[str, Any]:
    """Return the moments of Adam or AdamW: {"state": {number of a tensor: {"step", "exp_avg", "exp_avg_sq"}}}.

    Args:
        path: the file, for messages.
        state: of the file.
        parameters: of the model, in their order; may lie on torch's meta device.
        fewest_steps: that it has taken in all; 0: it may have none of these yet.
        most_steps: that it can have taken.

    Raises:
        CheckpointError: moments are missing, of other shapes, or not finite.
    """
    where = f"{path} is spoilt: the moments of its optimizer"
    found = state.get("state") if isinstance(state, Mapping) else None
    shapes = [parameter.shape for parameter in parameters]
    if not isinstance(found, Mapping) or not set(found) <= set(range(len(shapes))):
        raise CheckpointError(f"{where} are not those of {len(shapes)} tensors")
    if fewest_steps and not found:
        raise CheckpointError(f"{where} are missing")
    for number, moments in found.items():
        if not isinstance(moments, Mapping) or set(moments) != {"step", "exp_avg", "exp_avg_sq"}:
            raise CheckpointError(f"{where} are not those of Adam (tensor {number})")
        for name, shape in (("step", ()), ("exp_avg", shapes[number]), ("exp_avg_sq", shapes[number])):
            moment = moments[name]
            fits = isinstance(moment, Tensor) and moment.shape == shape and moment.layout == torch.strided
            if not fits or not moment.is_floating_point():
                raise CheckpointError(f"{where} do not fit tensor {number} of the model ({name})")
            if not bool(torch.isfinite(moment).all()):
                raise CheckpointError(f"{where} are not finite (NaN or infinity): {name} of tensor {number}")
        step = float(moments["step"])
        if not 0 <= step <= most_steps or bool((moments["exp_avg_sq"] < 0).any()):
            raise CheckpointError(f"{where} are impossible: those of tensor {number} after {step:g} steps")
    return {"state": {number: dict(moments) for number, moments in found.items()}}


def moments_of(
    optimizers: Sequence[torch.optim.Optimizer], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the sections of a state that hold the moments of optimizers, and what else ``more`` has."""
    first, *others = [optimizer.state_dict() for optimizer in optimizers]
    return {"optimizer": first, "more": {**(more or {}), **({"optimizers": others} if others else {})}}


def checked_moments(
    path: Path, values: Mapping[str, Any], model: Trainable, applied: int, steps: int
) -> list[dict[str, Any]]:
    """Return the moments of each optimizer that :func:`moments_of` wrote of a model, once they are found right."""
    turns, more = model.turns(), values["more"]
    others = more.get("optimizers", []) if isinstance(more, dict) else None
    if not isinstance(others, list) or len(others) != len(turns) - 1:
        raise CheckpointError(f"{path} is spoilt: it has not the moments of {len(turns)} optimizers")
    return [
        checked_optimizer(path, state, turn.parameters, applied, steps * turn.steps)
        for turn, state in zip(turns, [values["optimizer"], *others], strict=True)
    ]


def restore_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Any]) -> None:
    """Put an optimizer where :func:`checked_optimizer` says; its options stay the run's own, whatever a file has."""
    optimizer.load_state_dict(
        {"state": moments["state"], "param_groups": optimizer.state_dict()["param_groups"]}
    )


def section(path: Path, values: Mapping[str, Any], name: str, keys: set[str]) -> dict[str, Any]:
    """Return a mapping within a state. Raises CheckpointError where it is none, or has other keys."""
    found = values.get(name)
    if not isinstance(found, dict) or set(found) != keys:
        raise CheckpointError(f"{path} is spoilt: its section {name} is missing or not complete")
    return found


def check_scaler(path: Path, state: Any) -> None:
    """Raise CheckpointError where the state of a GradScaler is none."""
    names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
    if not isinstance(state, Mapping) or set(state) != set(names):
        raise CheckpointError(f"{path} is spoilt: it does not say how the loss is scaled")
    check_numbers(path, "scale of the loss", state)
    whole = all(type(state[name]) is int and state[name] >= 0 for name in names[3:])
    if not whole or not (state["scale"] > 0 and state["growth_factor"] > 1 > state["backoff_factor"] > 0):
        raise CheckpointError(f"{path} is spoilt: its scale of the loss is impossible")


def tensor_bytes(*modules: torch.nn.Module) -> int:
    """Return the bytes of all weights and buffers."""
    return sum(tensor.nbytes for module in modules for tensor in module.state_dict().values())
