import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from nlbs.cvae import ConditionalVAE, read_metadata, save_checkpoint
from nlbs.errors import CheckpointError
from nlbs.models import registry
from tests.conftest import some
from tests.cvae.conftest import codes, tiny


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "best_model.safetensors"
    save_checkpoint(path, ConditionalVAE(tiny(), 16), {"dataset_id": "abc", "best_loss": 0.25})
    return path


def parts(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    with safe_open(path, framework="pt") as file:
        values = json.loads(file.metadata()["nlbs_cvae"])
    return load_file(path), values


def rewrite(path: Path, tensors: dict[str, torch.Tensor], values: object) -> None:
    save_file(tensors, path, {"nlbs_cvae": json.dumps(values)})


def test_a_loaded_model_draws_the_same_images_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ConditionalVAE.from_preset("guide-small")  # large enough for kernels that care about alignment
    eight = {name: code.repeat(8) for name, code in codes().items()}
    model(torch.rand(8, 1, 64, 64), eight)  # moves BatchNorm's statistics
    path = tmp_path / "runs" / "m.safetensors"
    save_checkpoint(path, model)
    loaded = ConditionalVAE.load_from_checkpoint(str(path))
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.resolution == 64
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    draws = [m.sample(codes(), 4, torch.Generator().manual_seed(1)) for m in (model, loaded)]
    assert torch.equal(*draws)


def test_a_file_that_names_no_family_is_of_the_first_and_another_family_is_refused(saved: Path) -> None:
    tensors, values = parts(saved)
    assert values.pop("family") == "cvae"
    rewrite(saved, tensors, values)
    assert isinstance(registry.load_checkpoint(saved), ConditionalVAE)
    rewrite(saved, tensors, {**values, "family": "quilt"})
    with pytest.raises(CheckpointError, match="does not know: there is no family of models 'quilt'"):
        registry.load_checkpoint(saved)
    rewrite(saved, tensors, {**values, "family": ["cvae"]})
    with pytest.raises(CheckpointError, match="there is no family of models"):
        registry.load_checkpoint(saved)


def test_loaded_weights_lie_aligned_as_torch_allocates_them(saved: Path) -> None:
    # safetensors maps the file, where they need not be, and kernels round otherwise there.
    loaded = ConditionalVAE.load_from_checkpoint(saved).state_dict()
    assert [name for name, value in loaded.items() if value.data_ptr() % 64] == []


def test_a_loaded_model_can_be_trained_further(saved: Path) -> None:
    model = ConditionalVAE.load_from_checkpoint(saved).train()
    model(
        torch.rand(2, 1, 16, 16), {n: c.repeat(2) for n, c in codes().items()}
    ).reconstruction.sum().backward()
    assert all(
        parameter.requires_grad and parameter.grad is not None
        for parameter in some(model.decoder.parameters())
    )


def test_the_metadata_is_kept_and_the_bytes_are_the_same_each_time(saved: Path, tmp_path: Path) -> None:
    values = read_metadata(saved)
    assert values["training"] == {"dataset_id": "abc", "best_loss": 0.25}
    assert values["resolution"] == 16
    other = tmp_path / "other.safetensors"
    save_checkpoint(
        other, ConditionalVAE.load_from_checkpoint(saved), {"best_loss": 0.25, "dataset_id": "abc"}
    )
    assert other.read_bytes() == saved.read_bytes()


def test_a_failed_save_leaves_the_checkpoint_before(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(saved, ConditionalVAE(tiny(), 16))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint .*x\.safetensors; nlbs-train writes"):
        ConditionalVAE.load_from_checkpoint(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="holds no best_model"):
        ConditionalVAE.load_from_checkpoint(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 8, 200, -1, -400])
def test_a_file_cut_off_anywhere_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="no complete safetensors file"):
        ConditionalVAE.load_from_checkpoint(saved)


def test_a_file_of_another_kind_is_refused(saved: Path) -> None:
    saved.write_text("these are not the weights you are looking for")
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        ConditionalVAE.load_from_checkpoint(saved)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_without_running_its_code(tmp_path: Path, zipped: bool) -> None:
    witness = tmp_path / "ran"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(witness),)

    path = tmp_path / "best_model.pt"
    torch.save({"state_dict": Malicious()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"is a PyTorch pickle.*expected a safetensors file"):
        ConditionalVAE.load_from_checkpoint(path)
    assert not witness.exists()


def test_safetensors_whose_length_begins_like_a_pickle_is_read(saved: Path) -> None:
    tensors, values = parts(saved)
    for padding in range(0, 2000, 8):
        rewrite(saved, tensors, {**values, "padding": "x" * padding})
        if saved.read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no length begins with 0x80")
    ConditionalVAE.load_from_checkpoint(saved)


def test_weights_of_someone_else_are_refused(saved: Path) -> None:
    save_file({"weight": torch.zeros(3)}, saved)
    with pytest.raises(CheckpointError, match="no description of an NLBS model"):
        ConditionalVAE.load_from_checkpoint(saved)


def test_another_format_version_is_refused_with_both_versions(saved: Path) -> None:
    tensors, values = parts(saved)
    rewrite(saved, tensors, {**values, "format_version": 2})
    with pytest.raises(CheckpointError, match="format version 2, this nlbs-cvae reads version 1"):
        ConditionalVAE.load_from_checkpoint(saved)


def test_a_shape_that_disagrees_is_told_in_words(saved: Path) -> None:
    tensors, values = parts(saved)
    rewrite(saved, {**tensors, "to_mu.weight": torch.zeros(4, 100)}, values)
    with pytest.raises(CheckpointError, match=r"'to_mu.weight' has the shape 4 x 100, the model has 4 x 256"):
        ConditionalVAE.load_from_checkpoint(saved)


def test_a_missing_and_a_surplus_tensor_are_named(saved: Path) -> None:
    tensors, values = parts(saved)
    rewrite(saved, {name: value for name, value in tensors.items() if name != "to_mu.bias"}, values)
    with pytest.raises(CheckpointError, match=r"lacks the tensor 'to_mu.bias'"):
        ConditionalVAE.load_from_checkpoint(saved)
    rewrite(saved, {**tensors, "extra": torch.zeros(1)}, values)
    with pytest.raises(CheckpointError, match="a tensor 'extra' that the model does not have"):
        ConditionalVAE.load_from_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    tensors, values = parts(saved)
    tensors["from_latent.bias"][5] = value
    rewrite(saved, tensors, values)
    with pytest.raises(CheckpointError, match=r"'from_latent.bias' has values that are not finite"):
        ConditionalVAE.load_from_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 10**9 + 1}, "expected a whole number from 1 to"),
        ({"resolution": "large"}, "large"),
        ({"model": {"latent_dim": -3}}, "'latent_dim' is -3"),
        ({"model": {"latent": 3}}, "unknown key 'latent', did you mean 'latent_dim'"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    saved: Path, change: dict[str, object], message: str
) -> None:
    tensors, values = parts(saved)
    rewrite(saved, tensors, values | change)
    with pytest.raises(CheckpointError, match=message):
        ConditionalVAE.load_from_checkpoint(saved)


def test_a_gigantic_description_allocates_nothing(saved: Path) -> None:
    tensors, values = parts(saved)
    rewrite(saved, tensors, values | {"resolution": 2**14})
    with pytest.raises(CheckpointError, match="the model has"):
        ConditionalVAE.load_from_checkpoint(saved)
