import pytest
import torch
from torch import nn
from torch.nn import functional

from nlbs.models.layers import ConvBlock, DeconvBlock, FiLM, norm_layer


def test_film_scales_and_shifts_each_channel_by_the_condition() -> None:
    film = FiLM(3, 5)
    features, embedding = torch.randn(2, 5, 4, 4), torch.randn(2, 3)
    weight, bias = film.linear.weight, film.linear.bias
    gamma = torch.einsum("bd,cd->bc", embedding, weight[:5]) + bias[:5]
    beta = torch.einsum("bd,cd->bc", embedding, weight[5:]) + bias[5:]
    expected = torch.einsum("bc,bchw->bchw", gamma, features) + beta[:, :, None, None]
    torch.testing.assert_close(film(features, embedding), expected)


def test_a_neutral_film_changes_nothing_and_still_learns() -> None:
    film = FiLM(3, 5)
    film.start_neutral()
    features, embedding = torch.randn(2, 5, 4, 4), torch.randn(2, 3)
    assert torch.equal(film(features, embedding), features)
    film(features, embedding).square().sum().backward()
    assert film.linear.weight.grad.abs().min() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("channels", "use_group_norm", "kind"),
    [(8, True, nn.GroupNorm), (64, True, nn.GroupNorm), (7, True, nn.BatchNorm2d), (1, True, nn.BatchNorm2d),
     (64, False, nn.BatchNorm2d)],
)  # fmt: skip
def test_group_norm_where_channels_suffice_for_the_groups(
    channels: int, use_group_norm: bool, kind: type[nn.Module]
) -> None:
    layer = norm_layer(channels, use_group_norm, groups=8)
    assert type(layer) is kind
    if isinstance(layer, nn.GroupNorm):
        assert layer.num_groups == 8


def test_a_conv_block_is_conv_norm_silu_and_halves_the_size() -> None:
    block = ConvBlock(3, 16, use_group_norm=True, groups=8)
    x = torch.randn(2, 3, 12, 10)
    y = functional.conv2d(x, block.conv.weight, block.conv.bias, stride=2, padding=1)
    grouped = y.reshape(2, 8, -1)
    grouped = (grouped - grouped.mean(-1, keepdim=True)) / (
        grouped.var(-1, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    y = grouped.reshape(y.shape)
    torch.testing.assert_close(block(x), y * torch.sigmoid(y))
    assert block.conv.weight.shape == (16, 3, 3, 3)
    assert block(x).shape == (2, 16, 6, 5)


def test_a_deconv_block_is_deconv_norm_silu_film_and_doubles_the_size() -> None:
    block = DeconvBlock(6, 1, condition_dim=3, use_group_norm=True, groups=8)
    x, embedding = torch.randn(4, 6, 5, 5), torch.randn(4, 3)
    y = functional.conv_transpose2d(
        x, block.deconv.weight, block.deconv.bias, stride=2, padding=1, output_padding=1
    )
    y = (y - y.mean()) / (y.var(correction=0) + 1e-5).sqrt()  # BatchNorm2d of one channel, in training
    y = y * torch.sigmoid(y)
    gamma, beta = block.film.linear(embedding).unbind(dim=1)
    expected = gamma[:, None, None, None] * y + beta[:, None, None, None]
    torch.testing.assert_close(block(x, embedding), expected)
    assert expected.shape == (4, 1, 10, 10)
