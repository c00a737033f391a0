"""Building blocks: the guide's ConvBlock, FiLM and DeconvBlock, a head, a residual block, self-attention."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS, HEADS = 8, 4  #: of self-attention


def norm_layer(channels: int, use_group_norm: bool, groups: int) -> nn.Module:
    """Return GroupNorm where there are enough channels for the groups, else BatchNorm2d."""
    if use_group_norm and channels >= groups:
        return nn.GroupNorm(groups, channels)
    return nn.BatchNorm2d(channels)


class ConvBlock(nn.Module):
    """SiLU(Norm(Conv 3x3, stride 2)): (B, in, H, W) -> (B, out, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int, use_group_norm: bool, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)
        self.norm = norm_layer(out_channels, use_group_norm, groups)
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        features: Tensor = self.activation(self.norm(self.conv(x)))
        return features


class FiLM(nn.Module):
    """gamma * F + beta, with (gamma, beta) = Linear(c): Perez et al., arXiv 1709.07871."""

    def __init__(self, condition_dim: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(condition_dim, 2 * channels)

    def start_neutral(self) -> None:
        """Set first weights with gamma = 1 and beta = 0, whatever the condition."""
        gamma, beta = self.linear.bias.detach().chunk(2)
        nn.init.zeros_(self.linear.weight)
        nn.init.ones_(gamma)
        nn.init.zeros_(beta)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Return the features (B, C, H, W), each channel scaled and shifted by embedding (B, D)."""
        gamma, beta = self.linear(embedding)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, gamma, features)


class DeconvBlock(nn.Module):
    """FiLM(SiLU(Norm(Deconv 3x3, stride 2)), c): (B, in, H, W) -> (B, out, 2H, 2W)."""

    def __init__(
        self, in_channels: int, out_channels: int, condition_dim: int, use_group_norm: bool, groups: int
    ) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(
            in_channels, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1
        )
        self.norm = norm_layer(out_channels, use_group_norm, groups)
        self.activation = nn.SiLU()
        self.film = FiLM(condition_dim, out_channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the block's features, modulated by the condition embedding (B, D)."""
        features: Tensor = self.film(self.activation(self.norm(self.deconv(x))), embedding)
        return features


class Head(nn.Module):
    """Deconv 3x3, stride 2, of FiLM(x, c): (B, in, H, W) -> (B, out, 2H, 2W), with no norm or activation after it."""

    def __init__(self, in_channels: int, out_channels: int, condition_dim: int) -> None:
        super().__init__()
        self.film = FiLM(condition_dim, in_channels)
        self.deconv = nn.ConvTranspose2d(
            in_channels, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the maps."""
        maps: Tensor = self.deconv(self.film(x, embedding))
        return maps


class ResidualBlock(nn.Module):
    """x + Conv(SiLU(FiLM(Norm(Conv(SiLU(Norm(x))))))), 3x3; begins as the identity."""

    def __init__(self, channels: int, condition_dim: int, use_group_norm: bool, groups: int) -> None:
        super().__init__()
        self.norm1 = norm_layer(channels, use_group_norm, groups)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = norm_layer(channels, use_group_norm, groups)
        self.film = FiLM(condition_dim, channels)
        self.film.start_neutral()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]
        self.activation = nn.SiLU()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return features of the same shape."""
        inner = self.conv1(self.activation(self.norm1(x)))
        out: Tensor = x + self.conv2(self.activation(self.film(self.norm2(inner), embedding)))
        return out


class Layers(nn.Sequential):
    """Layers one after the other. torch.compile passes over a plain nn.Sequential, as its forward is torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the last one gives."""
        for layer in self:
            x = layer(x)
        return x


class SelfAttention(nn.Module):
    """x + self-attention over the places of a map (Vaswani et al., 1706.03762); begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.to_all = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        size, channels, height, width = x.shape
        split = self.to_all(self.norm(x)).reshape(size, 3, HEADS, channels // HEADS, height * width)
        q, k, v = split.transpose(-1, -2).unbind(1)
        if x.device.type == "cpu":  # where the fused backward takes three times as long on so few places
            weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(channels // HEADS), dim=-1)
            mixed = weights @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        found: Tensor = x + self.out(mixed.transpose(-1, -2).reshape(size, channels, height, width))
        return found
