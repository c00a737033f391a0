"""The mixture on disk, and the choice of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.fitted_file import weights_digest
from nlbs.cvae.mixture import MixtureSampler
from nlbs.cvae.mixture_file import load_mixture, save_mixture
from nlbs.cvae.sampler_choice import SamplerChoice, mixture_path
from nlbs.cvae.samplers import PriorSampler
from nlbs.errors import CheckpointError
from tests.cvae.test_ladder import FIVE, ladder
from tests.cvae.test_mixture import LATENT_DIM, mixture, noise_for


@pytest.fixture
def model() -> ConditionalVAE:
    return ladder(latent_dim=LATENT_DIM).eval()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "best_model.safetensors"


@pytest.fixture
def path(model: ConditionalVAE, checkpoint: Path) -> Path:
    save_mixture(mixture_path(checkpoint), mixture(), model, {"patches": 5})
    return mixture_path(checkpoint)


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> None:
    """Puts other tensors or other metadata into the file."""
    length = int.from_bytes(path.read_bytes()[:8], "little")
    key, text = next(iter(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"].items()))
    save_file(load_file(path) | (tensors or {}), path, {key: json.dumps(json.loads(text) | changes)})


def test_a_mixture_comes_back_from_disk_for_its_own_model_alone(model: ConditionalVAE, path: Path) -> None:
    assert path.name == "best_model.mixture.safetensors"
    for name, values in load_mixture(path, model).state_dict().items():
        assert torch.equal(values, mixture().state_dict()[name])
    with torch.no_grad():
        model.from_latent.bias += 1e-3
    with pytest.raises(CheckpointError, match=r"fitted to other weights.*--mixture-components"):
        load_mixture(path, model)


def test_the_same_mixture_gives_the_same_bytes(model: ConditionalVAE, path: Path) -> None:
    before = path.read_bytes()
    save_mixture(path, mixture(), model, {"patches": 5})
    assert path.read_bytes() == before


def test_it_is_drawn_from_where_it_is_asked_for_and_not_by_itself(
    model: ConditionalVAE, path: Path, checkpoint: Path
) -> None:
    assert isinstance(SamplerChoice().open(model, checkpoint), PriorSampler)
    choice = SamplerChoice("mixture", temperature=0.7, guidance="2")
    assert str(choice.of(checkpoint)) == "mixture, temperature 0.7, guidance 2"
    opened, made = choice.open(model, checkpoint), MixtureSampler(model, mixture(), 0.7, 2)
    noise = noise_for(made, 5)
    assert torch.equal(opened.draw(noise, FIVE), made.draw(noise, FIVE))
    path.unlink()
    with pytest.raises(CheckpointError, match=r"there is no mixture .*nlbs-train --mixture-components"):
        choice.of(checkpoint)


@pytest.mark.parametrize(
    ("tensors", "changes", "message"),
    [
        ({}, {"format_version": 9}, "mixture format version 9"),
        ({}, {"components": 4}, "tensor '(weights|means|variances)' has the shape"),
        ({}, {"components": 60_000}, "has the shape"),
        ({}, {"components": 10**15}, "describes no mixture of ours"),
        ({}, {"components": "3"}, "describes no mixture of ours"),
        ({}, {"components": True}, "describes no mixture of ours"),
        ({}, {"fitting": None}, "describes no mixture of ours"),
        ({"variances": torch.zeros(3, LATENT_DIM)}, {}, "variances are not above 0"),
        ({"weights": torch.tensor([1.0, -0.5, 0.5])}, {}, "not shares of 1"),
        ({"weights": torch.tensor([0.1, 0.1, 0.1])}, {}, r"together 0\.3"),
        ({"means": torch.full((3, LATENT_DIM), torch.nan)}, {}, "not finite"),
        ({"more": torch.zeros(1)}, {}, "tensor 'more' that the model does not have"),
    ],
)
def test_a_file_that_is_not_right_is_explained(
    model: ConditionalVAE, path: Path, tensors: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    rewritten(path, tensors, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_mixture(path, model)


def test_a_damaged_file_or_a_pickle_is_named(model: ConditionalVAE, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="cut off or damaged"):
        load_mixture(path, model)
    torch.save({"model_digest": weights_digest(model)}, path)
    with pytest.raises(CheckpointError, match="pickle, which could run code"):
        load_mixture(path, model)
