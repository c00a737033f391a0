"""Checkpoints: weights as safetensors, with the model's configuration in the metadata. No pickles."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from nlbs import __version__
from nlbs.config import from_mapping
from nlbs.errors import CheckpointError, ConfigError
from nlbs.files import write_with
from nlbs.json_text import parse_json
from nlbs.manifests.schema import NLBS, Schema
from nlbs.models.contract import GenerativeModel
from nlbs.models.family import Family, ImageSpec, checked_resolution
from nlbs.models.folder import BEST_MODEL, model_file
from nlbs.models.pixels import FITS
from nlbs.text import shown

FORMAT_VERSION = 1

#: The one metadata key. safetensors orders several at random; one keeps the bytes the same.
_KEY = "nlbs_cvae"
_EXAMPLE = f"runs/NAME/{BEST_MODEL}"
_HOW_TO_MEND = "take another checkpoint of the run, or train again"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"

#: Weights beyond this are no result of training: squares of them, as norms take them, have no number in float32.
_LARGEST = 1e18
_LONGEST_DESCRIPTION = 1 << 22  #: characters of JSON; a real one has some thousand
_MOST_HEADER_BYTES = 16 << 20  #: of a safetensors file, which names each tensor
_MOST_CHANNELS = 16
_MOST_SIZES = 8  #: of a shape, in messages


@contextmanager
def as_data(path: Path, what: str, advice: str = "") -> Iterator[None]:
    """Turn whatever reading a file of tensors raises into a CheckpointError: "PATH WHAT (reason)ADVICE".

    Bytes that somebody wrote run no code in the unpickler of tensors alone, but they raise anything there.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} {what} ({shown(reason)}){advice}") from None


def load_tensors(path: Path) -> Any:
    """Return what torch.save wrote to a file, on the CPU; no code in it is run. Use it within :func:`as_data`."""
    return torch.load(path, map_location="cpu", weights_only=True)


def save_checkpoint(path: Path, model: GenerativeModel, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model's weights, whole or not at all; the same model gives the same bytes.

    Args:
        path: the file, ``*.safetensors``.
        model: whose configuration goes into the metadata.
        metadata: JSON values to keep beside it: dataset id, step, validation loss.
    """
    values = {
        "format_version": FORMAT_VERSION,
        "nlbs_version": __version__,
        "family": model.family,
        "model": dataclasses.asdict(model.config),
        "resolution": model.resolution,
        "channels": model.image.channels,
        "conditions": model.schema.as_json(),
        "training": dict(metadata or {}),
    }
    write_weights(path, model, _KEY, values)


def write_weights(path: Path, module: torch.nn.Module, key: str, values: Mapping[str, Any]) -> None:
    """Write the weights of a module, and JSON values under one key of the metadata."""
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    tensors = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    write_with(path, lambda file: file.write(save(tensors, {key: text})))


def load_model(
    path: Path, values: Mapping[str, Any], family: Family, device: str | torch.device
) -> GenerativeModel:
    """Return the model of a checkpoint, in eval mode.

    Args:
        path: the file.
        values: of it, by :func:`read_metadata`.
        family: that it is of.
        device: where its weights are to be.

    Raises:
        CheckpointError: of another architecture than its own metadata says, or with weights that are no numbers.
    """
    try:
        config = from_mapping(family.options, values["model"], f"the metadata of {path}")
        with torch.device("meta"):
            model = family.make(config, _images_of(values), schema_of(values), family.loss())
    except (ConfigError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} describes no model of ours ({error}); {_HOW_TO_MEND}") from None
    model.load_state_dict(load_weights(path, model, device, _EXAMPLE), assign=True)
    return model.eval()


def schema_of(values: Mapping[str, Any]) -> Schema:
    """Return the conditions of a model from its metadata; a checkpoint of before has those of NLBS, and says none.

    Raises:
        ConfigError: what it says are none.
    """
    return Schema.from_json(values["conditions"]) if "conditions" in values else NLBS


def read_schema(path: Path) -> Schema:
    """Return the conditions of the model of a checkpoint; no tensor is read.

    Raises:
        CheckpointError: it is no checkpoint of ours, or says no conditions.
    """
    try:
        return schema_of(read_metadata(path))
    except ConfigError as error:
        raise CheckpointError(f"{path} describes no model of ours ({error}); {_HOW_TO_MEND}") from None


def _images_of(values: Mapping[str, Any]) -> ImageSpec:
    channels = values.get("channels", 1)
    if type(channels) is not int or not 1 <= channels <= _MOST_CHANNELS:
        raise ConfigError(f"its images have {shown(channels)} channels; expected 1 to {_MOST_CHANNELS}")
    return ImageSpec(channels, checked_resolution(values["resolution"]))


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what stands beside the weights: format_version, nlbs_version, family, model, resolution, training, ...

    A file without family is of the first one, "cvae"; one without channels has images of one, and one without
    conditions has those of NLBS.

    Raises:
        CheckpointError: missing, damaged, not a checkpoint of ours, or of another format version.
    """
    values = read_description(path, _KEY, _EXAMPLE)
    if not isinstance(values.get("model"), dict):
        raise _no_description(path, _EXAMPLE)
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format version {shown(values.get('format_version'))}, this nlbs-cvae reads "
            f"version {FORMAT_VERSION}: install the release that wrote it ({shown(values.get('nlbs_version'))})"
        )
    training = values.setdefault("training", {})
    fits, where = (None, *FITS), training.get("where") if isinstance(training, dict) else None
    if not isinstance(training, dict) or training.get("fit") not in fits or not isinstance(where, str | None):
        raise CheckpointError(
            f"{path} does not say how its patches were prepared (expected a section training with fit "
            f"{' or '.join(FITS)}); {_HOW_TO_MEND}"
        )
    return values


def trained_fit(values: Mapping[str, Any]) -> str:
    """Return how larger patches came to the model's size in training, a key of :data:`nlbs.models.pixels.FITS`.

    Args:
        values: of :func:`read_metadata`. A model that was not trained by nlbs-train says nothing: area averages.
    """
    return str(values["training"].get("fit") or "downsample")


def check_weights(source: Path, model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that a model expects; they fit it and are numbers.

    Raises:
        CheckpointError: they do not; the message begins with ``source`` and names the tensor.
    """
    expected = model.state_dict()
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{source} holds something else than tensors; {_HOW_TO_MEND}")
    check_shapes(source, expected, {name: tensor.shape for name, tensor in tensors.items()})
    return {name: _as_weight(source, name, tensors[name], target) for name, target in expected.items()}


def read_description(path: Path, key: str, example: str) -> dict[str, Any]:
    """Return the JSON values under a key of the metadata; no tensor is read.

    Raises:
        CheckpointError: missing, damaged, a pickle, or without such values; ``example`` names a right one.
    """
    with _opened(path, "cpu", example) as file:
        text = (file.metadata() or {}).get(key, "null")
    try:
        values = parse_json(text) if len(text) <= _LONGEST_DESCRIPTION else None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise _no_description(path, example)
    return values


def load_weights(
    path: Path, model: torch.nn.Module, device: str | torch.device, example: str
) -> dict[str, Tensor]:
    """Return the weights that a model expects from a file, on a device.

    Names and shapes are compared before a tensor is read: a file takes no more memory than the model.

    Args:
        path: the file.
        model: may lie on torch's meta device.
        device: where the weights are to be.
        example: a right file, for messages.

    Raises:
        CheckpointError: they do not fit, or are not finite; the message names the tensor.
    """
    expected = model.state_dict()
    with _opened(path, str(device), example) as file:
        shapes = {name: _shape(file, name) for name in file.keys()}  # noqa: SIM118
        check_shapes(path, expected, shapes)
        return {
            name: _as_weight(path, name, file.get_tensor(name), target) for name, target in expected.items()
        }


class _InMemory:
    """A safetensors file read as a whole, as ``safe_open`` shows one that it maps."""

    def __init__(self, path: Path, device: str) -> None:
        data = path.read_bytes()
        self._tensors, self._device = load(data), device
        self._header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # load has checked it

    def metadata(self) -> dict[str, str]:
        """Return the texts beside the tensors."""
        return dict(self._header.get("__metadata__", {}))

    def keys(self) -> Iterable[str]:
        """Return the names of the tensors."""
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._tensors[name].shape)

    def get_tensor(self, name: str) -> Tensor:
        """Return a tensor on the device."""
        return self._tensors[name].to(self._device)


@contextmanager
def _opened(path: Path, device: str, example: str) -> Iterator[Any]:
    """Open a safetensors file, or that of the model in a folder; say of what goes wrong with it what it is."""
    path = model_file(path)
    _check_kind(path, example)
    try:
        with _mapped(path, device) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is no complete safetensors file ({shown(str(error))}): it was cut off or damaged; {_HOW_TO_MEND}"
        ) from None


def _mapped(path: Path, device: str) -> Any:
    """Return a safetensors file to open, mapped where the file system can."""
    try:
        return safe_open(path, framework="pt", device=device)
    except OSError:  # no memory map on this file system (some FUSE)
        return nullcontext(_InMemory(path, device))


def _shape(file: Any, name: str) -> tuple[int, ...]:
    return file.shape(name) if isinstance(file, _InMemory) else tuple(file.get_slice(name).get_shape())


def _no_description(path: Path, example: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds weights but no description of an NLBS model; expected a file that nlbs-train "
        f"wrote, such as {example}"
    )


def _check_kind(path: Path, example: str) -> None:
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}; nlbs-train writes {example}")
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; expected a checkpoint such as {example}")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    # A safetensors file begins with 8 bytes of length, which may be anything, and then JSON.
    if start.startswith((_ZIP, _PICKLE)) and start[8:] != b"{":
        raise CheckpointError(
            f"{path} is a PyTorch pickle, which could run code when opened, so it was not opened; expected a "
            f"safetensors file such as {example}"
        )
    if len(start) == 9 and start[8:] != b"{":
        raise CheckpointError(
            f"{path} is no safetensors file; expected one that nlbs-train wrote, such as {example}"
        )
    header = int.from_bytes(start[:8], "little")
    if header > _MOST_HEADER_BYTES:
        raise CheckpointError(
            f"{path} is no checkpoint of ours: as a safetensors file it would have a header of {header:,} bytes, "
            f"at most {_MOST_HEADER_BYTES:,} are read; {_HOW_TO_MEND}"
        )


def check_shapes(source: Path, expected: Mapping[str, Tensor], found: Mapping[str, Sequence[int]]) -> None:
    """Compare names and shapes of tensors with those that a model expects.

    Raises:
        CheckpointError: one is missing, one is too many, or has another shape.
    """
    for name in found.keys() - expected.keys():
        raise CheckpointError(
            f"{source} has a tensor {shown(name)} that the model does not have; {_HOW_TO_MEND}"
        )
    for name, target in expected.items():
        if name not in found:
            raise CheckpointError(f"{source} lacks the tensor {name!r} of the model; {_HOW_TO_MEND}")
        if tuple(found[name]) != tuple(target.shape):
            raise CheckpointError(
                f"{source} holds another model than expected: its tensor {name!r} has the shape "
                f"{_in_words(found[name])}, the model has {_in_words(target.shape)}; {_HOW_TO_MEND}"
            )


def _as_weight(source: Path, name: str, tensor: Tensor, target: Tensor) -> Tensor:
    """Return a tensor in the dtype of the model's own, a copy; its values are numbers that can be computed with."""
    kinds = [(one.is_floating_point(), one.is_complex(), one.dtype == torch.bool) for one in (tensor, target)]
    if kinds[0] != kinds[1] or tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(
            f"{source} holds another model than expected: its tensor {name!r} has the type {tensor.dtype}, the model "
            f"has {target.dtype}; {_HOW_TO_MEND}"
        )
    # A copy: safetensors maps the file, unaligned, and kernels round otherwise on unaligned data.
    weight = tensor.to(target.dtype, copy=True)
    if weight.is_floating_point() and not bool((weight.abs() <= _LARGEST).all()):
        raise CheckpointError(
            f"{source} is spoilt: its tensor {name!r} has values that are not finite (NaN or infinity), or above "
            f"{_LARGEST:g}; {_HOW_TO_MEND}"
        )
    return weight


def _in_words(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape[:_MOST_SIZES]) or "a single number"
