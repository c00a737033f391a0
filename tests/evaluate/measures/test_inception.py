"""The Inception network, against torch-fidelity's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.features import inception
from nlbs.evaluate.measures.inception import Inception, resize_like_tensorflow_1


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
