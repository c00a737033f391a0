import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from nlbs.cvae.patch_gan import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_loss,
    generator_loss,
)
from nlbs.errors import ConfigError
from tests.cvae.conftest import codes


def discriminator(resolution: int = 16, channels: int = 4) -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(resolution, channels, embed_dim=6)


@pytest.mark.parametrize(("resolution", "field"), [(256, 70), (128, 70), (64, 34), (32, 16)])
def test_a_logit_sees_the_patch_of_the_paper(resolution: int, field: int) -> None:
    image = torch.randn(1, 1, resolution, resolution, requires_grad=True)
    logits = discriminator(resolution, channels=2)(image, codes())
    logits[0, logits.shape[1] // 2, logits.shape[2] // 2].backward()
    assert image.grad is not None
    rows, columns = (image.grad[0, 0].abs().sum(dim=axis).nonzero().flatten() for axis in (1, 0))
    assert len(rows) == len(columns) == field
    assert int(rows[-1] - rows[0]) == int(columns[-1] - columns[0]) == field - 1


def test_the_smallest_images_have_a_logit_and_smaller_ones_are_refused() -> None:
    assert (
        discriminator(8)(torch.zeros(2, 1, 8, 8), codes([0, 1], [0, 1], [0, 1], [0, 1], [0, 1])).numel() >= 2
    )
    with pytest.raises(ConfigError, match="8 x 8 pixels or more, found 4 x 4"):
        PatchDiscriminator(4, 4, 6)


def test_conditions_enter_by_projection_and_may_be_unknown() -> None:
    network, image = discriminator().eval(), torch.randn(1, 1, 16, 16)
    given = [codes(1, 0, 2, 1, 0), codes(-1, -1, -1, -1, -1), codes(0, 1, 3, 0, 1)]
    logits = [network(image, one).detach() for one in given]
    assert all(bool(values.isfinite().all()) for values in logits)
    assert len({float(values.sum()) for values in logits}) == 3
    # Without an embedding only psi is left, the first of the last layer's channels.
    with torch.no_grad():
        nn.init.zeros_(network.condition_encoder.mlp[2].bias)  # type: ignore[arg-type]
        parametrize.remove_parametrizations(network.condition_encoder.mlp[2], "weight")
        nn.init.zeros_(network.condition_encoder.mlp[2].weight)  # type: ignore[arg-type]
        torch.testing.assert_close(network(image, given[0]), network.layers(image)[:, 0])


def test_the_spectral_norm_of_every_weight_is_one() -> None:
    network = discriminator()
    for _ in range(200):  # a power iteration each
        network(torch.zeros(1, 1, 16, 16), codes())
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    for layer in layers:
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(start_dim=1))[0]
        assert float(largest) == pytest.approx(1, abs=2e-3)


def test_images_do_not_see_each_other() -> None:
    network = discriminator().eval()
    images, given = torch.randn(3, 1, 16, 16), codes([0, 1, -1], [0] * 3, [1] * 3, [0] * 3, [0] * 3)
    alone = network(images[1:2], {name: code[1:2] for name, code in given.items()})
    torch.testing.assert_close(network(images, given)[1:2], alone)


def test_bfloat16_gives_float32_logits_near_those_of_float32() -> None:
    network, image = discriminator().eval(), torch.randn(2, 1, 16, 16)
    given = codes([0, 1], [0, 1], [0, 1], [0, 1], [0, 1])
    exact = network(image, given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(image, given)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.02)


def test_the_hinge_losses_of_some_logits() -> None:
    real, made = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0, -0.5])
    expected = (0 + 0.5 + 2) / 3 + (0 + 1 + 2 + 0.5) / 4
    assert float(discriminator_loss(real, made)) == pytest.approx(expected)
    assert float(generator_loss(made)) == pytest.approx((3 + 0 - 1 + 0.5) / 4)


def test_what_is_told_apart_by_a_margin_of_one_pulls_the_discriminator_no_more() -> None:
    real, made = torch.tensor([1.5], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
    discriminator_loss(real, made).backward()  # type: ignore[no-untyped-call]
    assert real.grad is not None and made.grad is not None
    assert float(real.grad) == float(made.grad) == 0


def test_the_adaptive_weight_is_the_ratio_of_the_norms_and_bounded() -> None:
    assert float(adaptive_weight(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]))) == pytest.approx(
        2.5
    )
    assert float(adaptive_weight(torch.ones(4), torch.zeros(4))) == 10_000
    assert float(adaptive_weight(torch.zeros(4), torch.ones(4))) == 0
