"""The U-Net of denoisers: what comes out is added to a factor of what went in."""

import torch

from nlbs.models.unet import UNet


def made() -> tuple[UNet, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return UNet(3, (8, 16), 1, 1, 16), torch.randn(2, 3, 8, 8), torch.randn(2, 16)


def test_fresh_weights_find_nothing() -> None:
    network, x, embedding = made()
    assert torch.equal(network(x, embedding), torch.zeros(2, 3, 8, 8))


def test_the_last_layer_says_what_is_added_and_a_factor_of_each_channel_that_came_in() -> None:
    network, x, embedding = made()
    with torch.no_grad():
        network.leave[-1].bias.copy_(torch.tensor([1.0, 2.0, 3.0, -0.5, 0.0, 2.0]))
    added, factor = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-0.5, 0.0, 2.0])
    expected = added[:, None, None] + factor[:, None, None] * x
    torch.testing.assert_close(network(x, embedding), expected)
