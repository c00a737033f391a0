"""Features of networks that others trained: their files, their scale, and that each patch is computed once."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from nlbs.errors import CheckpointError
from nlbs.models import frozen_features
from nlbs.models.frozen_features import (
    PLACE,
    FeatureNetwork,
    FrozenFeatures,
    densenet121,
    loaded_network,
    onnx_vgg16,
    vgg16,
)
from tests.conftest import some

#: Widths of a VGG16 that a test can write: as many layers, hardly any channels.
NARROW = tuple(min(width, 64) // 32 for width in frozen_features._VGG)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let VGG16 have two channels throughout, and DenseNet121 one layer in each block."""
    monkeypatch.setattr(frozen_features, "_VGG", NARROW)
    for name, value in {"_BLOCKS": (1,) * 4, "_FIRST": 4, "_GROWTH": 2, "_INNER": 3}.items():
        monkeypatch.setattr(frozen_features, name, value)


@pytest.fixture
def weights(narrow: None, tmp_path: Path) -> Path:
    """A narrow VGG16 as torchvision names its layers, its classifier among them."""
    torch.manual_seed(0)
    tensors = {f"features.{name}": tensor for name, tensor in vgg16().state_dict().items()}
    save_file({**tensors, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


def images(count: int, edge: int = 32, channels: int = 1) -> Tensor:
    return 2 * torch.rand(count, channels, edge, edge, generator=torch.Generator().manual_seed(1)) - 1


def test_the_networks_have_the_parameters_that_their_papers_give_them() -> None:
    with torch.device("meta"):
        vgg, dense = vgg16(), densenet121()
    assert sum(weight.numel() for weight in vgg.parameters()) == 14_714_688
    # 7,978,856 with the classifier of 1,000 classes.
    assert sum(weight.numel() for weight in dense.parameters()) == 7_978_856 - 1000 * 1024 - 1000
    assert "denseblock3.denselayer24.conv2.weight" in dense.state_dict()


def test_maps_are_a_32nd_of_the_image(narrow: None) -> None:
    for network in (vgg16(), densenet121()):
        assert network(images(2, 96, 3)).shape[-2:] == (3, 3)


def test_each_patch_passes_once_and_its_features_do_not_depend_on_the_others(weights: Path) -> None:
    features, patches = FrozenFeatures("vgg16", str(weights)), images(5)
    alone = features(patches[3:4])
    again = features(patches.flip(0)).flip(0)
    assert torch.equal(again[3:4], alone)
    assert torch.equal(features(patches), again)
    assert features.computed == 5
    torch.testing.assert_close(again, loaded_network("vgg16", str(weights))(patches))


def test_what_does_not_fit_is_computed_anew(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_features, "_CACHE_BYTES", 2 * 2 * 4)
    features, patches = FrozenFeatures("vgg16", str(weights)), images(3)
    assert torch.equal(features(patches), features(patches))
    assert features.computed == 3 + 1


def test_grey_is_three_equal_colours_scaled_as_torchvision_does(weights: Path) -> None:
    network, grey = loaded_network("vgg16", str(weights)), images(2)
    assert torch.equal(network(grey), network(grey.expand(-1, 3, -1, -1)))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    colours = (((grey + 1) / 2).permute(0, 2, 3, 1) - mean) / deviation
    torch.testing.assert_close(network(grey), network.features(colours.permute(0, 3, 1, 2)))
    assert not any(weight.requires_grad for weight in network.parameters())


def field(number: int, value: bytes | int) -> bytes:
    """Return a field of a message of protocol buffers, written by its definition."""

    def varint(left: int) -> bytes:
        out = b""
        while left > 127:
            out, left = out + bytes([left & 127 | 128]), left >> 7
        return out + bytes([left])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_file(path: Path, network: nn.Sequential) -> Path:
    """Write the convolutions as the exporter of Keras names them, last layer first, after other fields."""
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    names = [f"block{b}_conv{c}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, count + 1)]
    graph = field(2, b"graph") + field(
        5, field(1, 2) + field(2, 7) + field(8, b"const") + field(9, b"12345678")
    )
    for name, layer in reversed(list(zip(names, convolutions, strict=True))):
        parts = {"convolution/ReadVariableOp:0": layer.weight, "Squeeze:0": torch.as_tensor(layer.bias)}
        for part, tensor in parts.items():
            shape = b"".join(field(1, size) for size in tensor.shape)
            raw = tensor.detach().numpy().astype("<f4").tobytes()
            graph += field(5, shape + field(2, 1) + field(8, f"m/{name}_1/{part}".encode()) + field(9, raw))
    path.write_bytes(field(1, 8) + struct.pack("<BI", 21, 0) + field(7, graph))
    return path


def test_an_onnx_file_takes_blue_green_and_red_less_their_means(narrow: None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    written = vgg16()
    path = onnx_file(tmp_path / "vgg.onnx", written)
    network, colours = loaded_network("vgg16", str(path)), images(2, 32, 3)
    blue_first = 255 * (colours.flip(1) + 1) / 2 - torch.tensor([103.939, 116.779, 123.68]).reshape(3, 1, 1)
    first = written[0]
    assert isinstance(first, nn.Conv2d)
    expected = functional.conv2d(blue_first, first.weight, first.bias, padding=1)
    found = network.features[0]((((colours + 1) / 2) - network.mean) / network.deviation)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(network(colours), written(blue_first), rtol=1e-4, atol=1e-3)


def test_files_that_hold_no_such_network_are_refused(narrow: None, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x0a\xff")
    with pytest.raises(CheckpointError, match="no ONNX file of a network"):
        onnx_vgg16(tmp_path / "a.onnx")
    onnx_file(tmp_path / "short.onnx", vgg16())
    (tmp_path / "short.onnx").write_bytes((tmp_path / "short.onnx").read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="no ONNX file of a network"):
        onnx_vgg16(tmp_path / "short.onnx")
    with pytest.raises(CheckpointError, match="expected a state_dict of densenet121"):
        loaded_network("densenet121", str(onnx_file(tmp_path / "v.onnx", vgg16())))
    torch.save(vgg16(), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        loaded_network("vgg16", str(tmp_path / "whole.pt"))
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        loaded_network("vgg16", str(tmp_path / "list.pt"))
    torch.save(densenet121().state_dict(), tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt has a tensor"):
        loaded_network("vgg16", str(tmp_path / "other.pt"))


def test_a_densenet_is_read_by_its_new_and_its_old_names(narrow: None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = densenet121()
    old = {
        "features."
        + name.replace("layer1.norm1", "layer1.norm.1").replace("layer1.conv2", "layer1.conv.2"): tensor
        for name, tensor in network.state_dict().items()
    }
    torch.save(old, tmp_path / "old.pth")
    found = loaded_network("densenet121", str(tmp_path / "old.pth")).features.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in some(network.state_dict().items()))


def test_a_file_that_is_missing_or_another_one_is_named(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = FrozenFeatures("vgg16", str(weights)).digest()
    with pytest.raises(CheckpointError, match=r"no weights of it are given.*model\.feature_weights"):
        FrozenFeatures("vgg16", None)(images(1))
    gone = FrozenFeatures("vgg16", str(tmp_path / "gone.pt"), digest)
    with pytest.raises(CheckpointError, match=f"no file .*gone.pt.*SHA-256 {digest}.*{PLACE}"):
        gone(images(1))
    (tmp_path / "gone.pt").write_bytes(b"other")
    with pytest.raises(
        CheckpointError, match=f"not the file that the model was trained with.*expected {digest}"
    ):
        gone(images(1))
    monkeypatch.setenv(PLACE, str(weights))
    assert gone(images(1)).shape == (1, 2, 1, 1)


def test_nothing_is_read_for_shapes_alone() -> None:
    assert FrozenFeatures("vgg16", None)(torch.zeros(2, 1, 64, 64, device="meta")).shape == (2, 512, 2, 2)
    with torch.device("meta"):
        assert FeatureNetwork("densenet121")(torch.zeros(1, 1, 64, 64)).shape == (1, 1024, 2, 2)


def test_the_narrow_network_has_as_many_layers() -> None:
    assert np.count_nonzero(NARROW) == 13
