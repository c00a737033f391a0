"""Gaussian-mixture VAEs: the mixture against torch's, published arithmetic against closed forms, known clusters."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from safetensors.torch import save_file
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from nlbs.errors import CheckpointError, ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.models import frozen_features, registry
from nlbs.models.checkpoint import read_metadata, save_checkpoint
from nlbs.models.contract import Clock, Clusters, Prepares
from nlbs.models.frozen_features import PLACE, vgg16
from nlbs.models.gaussian_latent import kl_divergence
from nlbs.models.gmvae import (
    FAMILY,
    GaussianMixture,
    Gmvae,
    GmvaeConfig,
    GmvaeLoss,
    clusters,
    inverse_softplus,
)
from nlbs.models.vae import stretched_square
from nlbs.shards import open_shards
from nlbs.train.cli import main as train
from nlbs.train.config import preset, resolved_config
from nlbs.train.turns import fresh_model
from tests.models.test_frozen_features import NARROW
from tests.shards.conftest import make_shard_set

TINY: dict[str, Any] = {
    "features": "none", "widths": [4, 8], "latent_dim": 5, "components": 4, "decoder_widths": [8, 4]
}  # fmt: skip
CODES = {name: torch.full((3,), -1) for name in NLBS.names}


def tiny(name: str = "gmvae-small", **model: Any) -> Gmvae:
    torch.manual_seed(0)
    found = fresh_model(resolved_config(name, None, {"model": TINY | model, "data": {"resolution": 32}}))
    assert isinstance(found, Gmvae)
    return found


def images(count: int = 3, edge: int = 32) -> Tensor:
    return 2 * torch.rand(count, 1, edge, edge, generator=torch.Generator().manual_seed(1)) - 1


def mixture(components: int = 4, latent_dim: int = 5) -> GaussianMixture:
    torch.manual_seed(0)
    made = GaussianMixture(components, latent_dim, standard=False)
    with torch.no_grad():
        made.raw_means.mul_(8)
        made.raw_variances.mul_(3)
    return made


def as_torch_has_it(prior: GaussianMixture) -> MixtureSameFamily:
    normals = Independent(Normal(prior.means, prior.variances.sqrt()), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(prior.means))), normals)


def test_the_mixture_is_that_of_torch() -> None:
    prior, z = mixture(), torch.randn(7, 5)
    torch.testing.assert_close(prior.log_prob(z), as_torch_has_it(prior).log_prob(z))
    mean, deviation = prior.moments()
    torch.testing.assert_close(mean, as_torch_has_it(prior).mean)
    torch.testing.assert_close(deviation, as_torch_has_it(prior).stddev)
    mu, logvar = torch.randn(3, 5), torch.randn(3, 5)
    expected = [
        torch.distributions.kl_divergence(
            Independent(Normal(mu, (logvar / 2).exp()), 1), Independent(Normal(one, deviation), 1)
        )
        for one, deviation in zip(prior.means, prior.variances.sqrt(), strict=True)
    ]
    torch.testing.assert_close(prior.divergences(mu, logvar), torch.stack(expected, dim=1))


@torch.no_grad()
def test_the_estimate_is_right_in_the_mean_and_the_bound_above_it() -> None:
    model = tiny()
    model.prior = mixture()
    mu, logvar = torch.randn(3, 5), torch.randn(3, 5) - 1
    z = mu.repeat(20_000, 1) + (logvar / 2).exp().repeat(20_000, 1) * torch.randn(60_000, 5)
    normals = Independent(Normal(mu, (logvar / 2).exp()), 1)
    expected = normals.log_prob(z.reshape(-1, 3, 5)) - as_torch_has_it(model.prior).log_prob(
        z.reshape(-1, 3, 5)
    )
    found = model.estimated_kl(mu.repeat(20_000, 1), logvar.repeat(20_000, 1), z).reshape(-1, 3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert bool((model.kl(mu, logvar) >= found.mean(dim=0) - 0.02).all())


@torch.no_grad()
def test_until_it_is_placed_the_prior_is_that_of_a_plain_vae() -> None:
    model, mu, logvar = tiny(components=7), torch.randn(6, 5), torch.randn(6, 5)
    torch.testing.assert_close(model.kl(mu, logvar), kl_divergence(mu, logvar), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_noise_chooses_a_component_each_equally_often_and_at_any_temperature() -> None:
    model = tiny()
    model.prior.place(100 * torch.arange(4.0).unsqueeze(1).expand(-1, 5), torch.ones(4, 5))
    noise = [torch.randn(8000, *shape) for shape in model.drawing_noise]
    chosen = (model.from_prior(noise).mean(dim=1) / 100).round()
    assert torch.bincount(chosen.long(), minlength=4).tolist() == pytest.approx([2000] * 4, rel=0.1)
    cooler = (model.from_prior([0.3 * level for level in noise]).mean(dim=1) / 100).round()
    assert torch.equal(chosen, cooler)


@torch.no_grad()
def test_a_patch_belongs_to_the_component_that_lies_where_it_is_encoded() -> None:
    model = tiny().eval()
    assert isinstance(model, Clusters) and isinstance(model, Prepares)
    mu, logvar = model.encoded(images(), model.embedded(CODES))
    model.prior.place(torch.cat([mu.flip(0), mu[:1] + 50]), (1e-2 * logvar[0].exp()).expand(4, -1))
    found = model.responsibilities(images(), CODES)
    assert found.argmax(dim=1).tolist() == [2, 1, 0]
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))


# As published.


@pytest.mark.parametrize(
    ("name", "widths", "labels"), [("gmvae", (128, 64, 32, 16, 1), 0), ("fs-gmvae", (14, 6, 3, 3, 1), 14)]
)
def test_the_published_model_has_the_parameters_of_its_layers(
    name: str, widths: tuple[int, ...], labels: int
) -> None:
    config = preset(f"{name}-published")
    with torch.device("meta"):
        model = fresh_model(config)
    assert isinstance(model, Gmvae)
    numbers = model.condition_encoder.width if model.condition_encoder else 0
    assert numbers == labels  # of the five conditions of NLBS as well, by chance
    encoder = 14_714_688 + (25_088 + numbers) * 2000 + 2000 + (4 * 8 if numbers else 0)  # embedded age bins
    decoder = (1000 + numbers + 1) * widths[0] * 14**2
    decoder += sum(16 * a * b + b + 2 * b for a, b in pairwise(widths))
    assert model.num_parameters == encoder + 2 * 50 * 1000 + decoder


def test_the_published_rate_is_the_one_that_ran_and_not_the_one_that_was_set() -> None:
    for name in ("gmvae-published", "fs-gmvae-published"):
        config = preset(name)
        assert (
            config.training.learning_rate == config.training.min_learning_rate == 5e-3
        )  # 1e-4 is never read
        assert (config.training.max_steps, config.data.batch_size, config.data.resolution) == (1500, 64, 224)
        assert not config.model.frozen


@torch.no_grad()
def test_a_mean_of_squares_beside_a_summed_kl_weighs_the_kl_by_the_numbers_of_an_image() -> None:
    assert 3 * 224 * 224 == 150_528
    model = tiny("gmvae-published").eval()
    pixels, noise = images(), torch.randn(3, 5)
    pixels[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])  # so that nothing is stretched
    terms = model.terms("model", pixels, CODES, [noise], Clock(0, 1, 0, 0.0))
    mu, logvar = model.encoded(pixels, model.embedded(CODES))
    y = model.decoded(mu + (logvar / 2).exp() * noise, model.embedded(CODES)).sigmoid()
    squares = ((pixels + 1) / 2 - y).square().sum() / 3
    beta = 32 * 32
    assert float(beta * terms["total"]) == pytest.approx(float(squares + beta * terms["kl"]), rel=1e-5)


@torch.no_grad()
def test_no_published_pixel_is_darker_than_the_sigmoid_of_minus_one() -> None:
    model = tiny("gmvae-published").eval()
    drawn = model.draw(
        [100 * torch.randn(9, *shape) for shape in model.drawing_noise],
        {n: torch.full((9,), -1) for n in NLBS.names},
    )
    assert float(drawn.min()) >= 2 / (1 + math.e) - 1 - 1e-6
    assert "0.27 of white" in model.doubts.draws
    assert not tiny().doubts.draws


def test_published_errors_depend_on_the_other_patches_of_the_batch() -> None:
    maps, one = torch.zeros(1, 1, 2, 2), torch.tensor([[[[-0.5, 0.0], [0.0, 0.5]]]])
    assert float(stretched_square(maps, one, maps)) == pytest.approx((0.25 + 0.25) / 4)
    both = torch.cat([one, torch.tensor([[[[-1.0, 0.0], [0.0, 1.0]]]])])
    assert float(stretched_square(maps.expand(2, -1, -1, -1), both, maps)) == pytest.approx(
        (2 * 0.25**2 + 2 * 0.25) / 8
    )


def test_published_components_begin_as_one() -> None:
    torch.manual_seed(0)
    prior = GaussianMixture(50, 1000, standard=False)
    apart = torch.pdist(prior.means.detach())
    assert float(apart.mean()) == pytest.approx(math.sqrt(2 / 50), rel=0.02)
    assert float(prior.variances.detach().sqrt().mean()) == pytest.approx(math.sqrt(math.log(2)), rel=0.01)
    assert FAMILY.presets["gmvae-published"]["training"]["loss"]["mixture_share"] == 0


# Mended.


def test_the_mixture_is_placed_once_and_learns_from_then_on() -> None:
    model = tiny()
    wanted = [model.patches_wanted(Clock(0, 5, 0, share)) for share in (0.0, 0.29, 0.3, 0.9)]
    assert wanted == [0, 0, 2048, 2048]

    def gradient() -> float:
        model.zero_grad()
        model.terms("model", images(), CODES, [torch.randn(3, 5)], Clock(0, 5, 0, 0.5))["total"].backward()
        assert model.prior.raw_means.grad is not None
        return float(model.prior.raw_means.grad.abs().sum())

    assert gradient() == 0
    model.eval().prepare(images(), CODES)
    assert model.patches_wanted(Clock(0, 5, 0, 0.5)) == 0
    assert gradient() > 0
    assert tiny("gmvae-published").patches_wanted(Clock(0, 5, 0, 0.5)) == 0


def test_the_softplus_is_inverted() -> None:
    values = torch.tensor([1e-4, 0.5, 3.0, 200.0])
    torch.testing.assert_close(torch.nn.functional.softplus(inverse_softplus(values)), values)


def test_clusters_are_found_with_their_spread() -> None:
    generator = torch.Generator().manual_seed(3)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres.repeat(400, 1) + torch.randn(1200, 2, generator=generator) * torch.tensor([1.0, 0.5])
    found, variances = clusters(points, 3)
    order = torch.cdist(centres, found).argmin(dim=1)
    torch.testing.assert_close(found[order], centres, atol=0.2, rtol=0)
    torch.testing.assert_close(variances, torch.tensor([[1.0, 0.25]]).expand(3, -1), atol=0.15, rtol=0)
    few, spread = clusters(points[:2], 4)
    assert bool(torch.isfinite(few).all()) and bool((spread > 0).all())


@pytest.mark.parametrize("name", ["fs-gmvae-small", "fs-gmvae-published"])
@torch.no_grad()
def test_labels_enter_encoder_and_decoder_where_there_are_any(name: str) -> None:
    other = {label: torch.zeros_like(code) for label, code in CODES.items()}
    for model, acts in ((tiny(name).eval(), True), (tiny(name.removeprefix("fs-")).eval(), False)):
        noise = [torch.randn(3, *shape) for shape in model.drawing_noise]
        assert torch.equal(model.draw(noise, CODES), model.draw(noise, other)) != acts
        assert torch.equal(model.infer(images(), CODES)[0], model.infer(images(), other)[0]) != acts


@pytest.mark.parametrize("decoder", ["mlp", "small", "transposed"])
@torch.no_grad()
def test_each_decoder_makes_images_of_the_edge(decoder: str) -> None:
    model = tiny(decoder=decoder, decoder_widths=None, transition=3).eval()
    assert model.reconstruct(images(), CODES).shape == (3, 1, 32, 32)


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"a resolution of 100 cannot be halved.*vgg16.*take a multiple of 32"
    ):
        FAMILY.check(GmvaeConfig(), GmvaeLoss(), 100)
    with pytest.raises(CheckpointError, match="no weights of it are given"):
        fresh_model(preset("gmvae"))


# With frozen features.


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of a VGG16 with hardly any channels, which the model takes for the real one."""
    monkeypatch.setattr(frozen_features, "_VGG", NARROW)
    monkeypatch.setitem(frozen_features.CHANNELS, "vgg16", 2)
    torch.manual_seed(0)
    save_file(vgg16().state_dict(), tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


@torch.no_grad()
def test_frozen_features_are_no_part_of_the_model_and_drawing_needs_no_file(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("gmvae", features="vgg16", feature_weights=str(weights), transition=3).eval()
    assert not any("network" in name for name in model.state_dict())
    save_checkpoint(tmp_path / "model.safetensors", model)
    digest = read_metadata(tmp_path / "model.safetensors")["model"]["feature_sha256"]
    assert digest == frozen_features.FrozenFeatures("vgg16", str(weights)).digest()
    weights.rename(tmp_path / "elsewhere.safetensors")
    again = registry.load_checkpoint(tmp_path / "model.safetensors")
    assert isinstance(again, Gmvae)
    noise = [torch.randn(3, *shape) for shape in model.drawing_noise]
    assert torch.equal(again.draw(noise, CODES), model.draw(noise, CODES))
    with pytest.raises(CheckpointError, match=f"there is no file .*vgg.safetensors.*SHA-256 {digest}"):
        again.infer(images(), CODES)
    monkeypatch.setenv(PLACE, str(tmp_path / "elsewhere.safetensors"))
    assert torch.equal(again.infer(images(), CODES)[0], model.infer(images(), CODES)[0])


def test_what_is_called_frozen_as_published_is_trained_and_kept(weights: Path, tmp_path: Path) -> None:
    model = tiny("gmvae-published", features="vgg16", feature_weights=str(weights))
    assert model.network is not None
    model.terms("model", images(), CODES, [torch.randn(3, 5)], Clock(0, 1, 0, 0.0))["total"].backward()
    assert all(weight.grad is not None for weight in model.network.parameters())
    save_checkpoint(tmp_path / "model.safetensors", model)
    weights.unlink()
    again = registry.load_checkpoint(tmp_path / "model.safetensors")
    assert isinstance(again, Gmvae)
    assert torch.equal(again.infer(images(), CODES)[0], model.eval().infer(images(), CODES)[0])


# By the trainer.


def patterns(
    count: int, kinds: int, edge: int, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return patches of a few coarse patterns under noise, at another brightness each, and which it is of each."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(kinds, size=count)
    coarse = generator.uniform(0.1, 1, (kinds, 4, 4)).repeat(edge // 4, axis=1).repeat(edge // 4, axis=2)
    brightness = generator.uniform(0.7, 1, (count, 1, 1))
    grey = 220 * brightness * coarse[kind] + generator.normal(0, 12, (count, edge, edge))
    return grey.round().clip(1, 255).astype(np.uint8), kind


def test_known_clusters_are_found_by_the_trainer(tmp_path: Path) -> None:
    pixels, kind = patterns(192, kinds=4, edge=16)
    make_shard_set(tmp_path / "set", 192, 16, pixels=pixels, columns={"split": ["train"] * 192})
    changes = {
        "model": TINY | {"widths": [8, 16], "decoder_widths": [16, 8]},
        "training": {
            "epochs": 24,
            "samples_every_steps": 1000,
            "learning_rate": 5e-3,
            "warmup_steps": 5,
            "ema_decay": None,
        },
        "data": {"resolution": 16, "batch_size": 32},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(changes))
    call = ["--shards", tmp_path / "set", "--preset", "gmvae-small", "--config", tmp_path / "run.yaml"]
    with pytest.raises(SystemExit) as left:
        train([str(part) for part in (*call, "--device", "cpu", "--run", tmp_path / "run")])
    assert not left.value.code
    model = registry.load_checkpoint(tmp_path / "run" / "last_model.safetensors")
    assert isinstance(model, Gmvae)
    with open_shards(tmp_path / "set") as shards, torch.no_grad():
        seen = torch.from_numpy(shards.read(range(192))).unsqueeze(1) / 127.5 - 1
        codes = {name: torch.full((192,), -1) for name in NLBS.names}
        found = model.responsibilities(seen, codes).argmax(dim=1)
    assert adjusted_rand_score(kind, found.numpy()) >= 0.9
    assert bool(model.prior.placed)
