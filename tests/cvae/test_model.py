"""The conditional VAE: what goes in, what comes out, and how it is drawn from.

Also covers: cvae/network.py.
"""

import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.errors import ConfigError
from nlbs.models.contract import Doubts
from nlbs.models.layers import FiLM
from tests.cvae.conftest import codes, tiny

FIVE = codes([0, 1, 0, 1, -1], [0, 1, 1, 0, -1], [0, 1, 2, 3, -1], [0, 1, 0, 1, -1], [1, 0, 0, 0, -1])


def model(skips: bool = False, seed: int = 0) -> ConditionalVAE:
    torch.manual_seed(seed)
    return ConditionalVAE(tiny(skips), 16)


def images(count: int = 5, seed: int = 0) -> Tensor:
    return 2 * torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) - 1


def arithmetic(widths: list[int], resolution: int, latent: int, embed: int) -> int:
    """Counts the numbers of the guide's network from its description."""
    pairs = list(zip([1, *widths], widths, strict=False))
    encoder = sum(a * b * 9 + b + 2 * b for a, b in pairs)
    flat = widths[-1] * (resolution // 2 ** len(widths)) ** 2
    heads = 2 * (flat * latent + latent) + latent * flat + flat
    decoder = sum(b * a * 9 + a + 2 * a + (embed * 2 * a + 2 * a) for a, b in pairs)
    conditions = 4 * 8 + (14 * embed + embed) + (embed * embed + embed)
    return encoder + heads + decoder + conditions + embed * 2 * latent + 2 * latent


@pytest.mark.parametrize(
    ("preset", "widths", "resolution", "latent"),
    [("guide", [64, 128, 256, 512], 256, 256), ("guide-small", [32, 64, 128, 256], 64, 64)],
)
def test_the_parameters_are_those_of_the_arithmetic(
    preset: str, widths: list[int], resolution: int, latent: int
) -> None:
    with torch.device("meta"):
        built = ConditionalVAE.from_preset(preset)
    assert built.num_parameters == arithmetic(widths, resolution, latent, 128)


def test_the_guide_has_104_097_189_parameters_and_a_map_of_131_072_features() -> None:
    with torch.device("meta"):
        built = ConditionalVAE.from_preset("guide")
        output = built(
            torch.empty(2, 1, 256, 256), {name: torch.empty(2, dtype=torch.int64) for name in FIVE}
        )
    assert built.num_parameters == 104_097_189
    assert built.to_mu.in_features == 131_072
    assert output.reconstruction.shape == (2, 1, 256, 256)
    assert output.mu.shape == output.logvar.shape == (2, 256)


@pytest.mark.parametrize("skips", [False, True])
def test_a_pass_gives_an_image_and_the_posterior_of_each_sample(skips: bool) -> None:
    output = model(skips)(images(), FIVE)
    assert output.reconstruction.shape == (5, 1, 16, 16)
    assert output.mu.shape == output.logvar.shape == (5, 4)
    expected = 0.5 * (output.mu**2 + output.logvar.exp() - output.logvar - 1).sum(1)
    torch.testing.assert_close(output.kl, expected)


def test_in_eval_mode_z_is_the_mean_and_in_training_it_is_drawn() -> None:
    built = model().eval()
    mu, logvar = built.encode(images(), FIVE)
    output = built(images(), FIVE)
    assert torch.equal(output.mu, mu)
    assert torch.equal(output.reconstruction, built.decode(mu, FIVE))
    built.train()
    torch.manual_seed(3)
    drawn = built(images(), FIVE).reconstruction
    torch.manual_seed(3)
    z = mu + torch.exp(logvar / 2) * torch.randn(5, 4)
    torch.testing.assert_close(drawn, built.decode(z, FIVE))


def test_skips_are_added_to_the_decoder_blocks_of_their_size() -> None:
    built = model(skips=True).eval()
    embedding = built.condition_encoder(FIVE)
    first = built.encoder[0](images())
    last = built.encoder[1](first)
    bias = built.posterior_bias(embedding)  # type: ignore[misc]
    z = built.to_mu(last.flatten(1)) + bias[:, :4]
    x = built.decoder[0](built.from_latent(z).reshape(5, 16, 4, 4), embedding) + first
    expected = built.decoder[1](x, embedding)
    torch.testing.assert_close(built(images(), FIVE).reconstruction, expected)


def test_the_posterior_bias_shifts_mean_and_log_variance() -> None:
    built = model().eval()
    before = built.encode(images(), FIVE)
    with torch.no_grad():
        built.posterior_bias.bias += torch.tensor([1.0] * 4 + [2.0] * 4)  # type: ignore[union-attr, operator]
    after = built.encode(images(), FIVE)
    torch.testing.assert_close(after[0], before[0] + 1)
    torch.testing.assert_close(after[1], before[1] + 2)
    torch.manual_seed(0)
    without = ConditionalVAE(tiny(use_posterior_bias=False), 16).eval()
    others = codes([1] * 5, [1] * 5, [1] * 5, [1] * 5, [1] * 5)
    assert torch.equal(without.encode(images(), FIVE)[0], without.encode(images(), others)[0])


@pytest.mark.parametrize("skips", [False, True])
def test_a_sample_does_not_depend_on_what_was_encoded_before(skips: bool) -> None:
    built = model(skips).eval()

    def draw() -> Tensor:
        return built.sample(FIVE, generator=torch.Generator().manual_seed(7))

    fresh = draw()
    built(images(seed=1), FIVE)
    after_one = draw()
    built.encode(images(seed=2), FIVE)
    assert torch.equal(fresh, after_one)
    assert torch.equal(fresh, draw())


def test_a_sample_is_the_decoded_normal_latent_clamped() -> None:
    built = model(skips=True).eval()
    with torch.no_grad():
        built.decoder[-1].film.linear.weight *= 50
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(7))
    decoded = built.decode(z, FIVE)
    assert decoded.abs().max() > 1
    drawn = built.sample(FIVE, generator=torch.Generator().manual_seed(7))
    assert torch.equal(drawn, decoded.clamp(-1, 1))


def test_sampling_needs_no_gradient_and_keeps_the_mode_and_the_running_statistics() -> None:
    built = model()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    drawn = built.sample(codes(), 3, torch.Generator().manual_seed(0))
    assert built.training
    assert not drawn.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert torch.equal(drawn, built.eval().sample(codes(), 3, torch.Generator().manual_seed(0)))
    assert not built.training


def test_one_condition_gives_num_samples_images_and_several_one_each() -> None:
    built = model()
    assert built.sample(codes()).shape == (1, 1, 16, 16)
    assert built.sample(codes(), num_samples=3).shape == (3, 1, 16, 16)
    assert built.sample(FIVE).shape == built.sample(FIVE, num_samples=5).shape == (5, 1, 16, 16)
    with pytest.raises(ConfigError, match="3 samples of 5 conditions"):
        built.sample(FIVE, num_samples=3)
    with pytest.raises(ConfigError, match="0 samples"):
        built.sample(codes(), num_samples=0)


def test_the_condition_changes_the_image_of_the_same_latent() -> None:
    built = model()
    both = built.sample(codes([0, 1], [0] * 2, [0] * 2, [0] * 2, [0] * 2), generator=None)
    assert not torch.equal(both[0], both[1])
    z = torch.zeros(1, 4)
    with torch.no_grad():
        seen = {float(built.eval().decode(z, codes(age_bin=age)).sum()) for age in (-1, 0, 1, 2, 3)}
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (torch.zeros(2, 1, 8, 8), "2x1x8x8"),
        (torch.zeros(1, 16, 16), "1x16x16"),
        (torch.zeros(2, 1, 16, 16, dtype=torch.uint8), "torch.uint8"),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(pixels: Tensor, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"{found}.*Bx1x16x16"):
        model().encode(pixels, codes())


def test_codes_out_of_range_are_refused_by_each_public_method() -> None:
    built, wrong = model(), codes(age_bin=7)
    for call in (
        lambda: built.sample(wrong),
        lambda: built.encode(images(1), wrong),
        lambda: built.decode(torch.zeros(1, 4), wrong),
    ):
        with pytest.raises(ConfigError, match="'age_bin' has the code 7"):
            call()


def test_a_model_knows_whether_it_samples_without_skips_it_trained_with() -> None:
    assert "skip connections" in model(skips=True).doubts.draws
    assert model(skips=False).doubts == Doubts()


def test_the_small_preset_starts_with_neutral_films_and_the_guide_does_not() -> None:
    small = ConditionalVAE.from_preset("guide-small")
    films = [layer.linear for layer in small.modules() if isinstance(layer, FiLM)]
    assert len(films) == 4
    assert all(film.weight.abs().max() == 0 for film in films)
    assert model().decoder[0].film.linear.weight.abs().max() > 0
