"""U-Nets of denoisers: ours, and the one of the published diffusion model."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.models.layers import GROUPS, ResidualBlock, SelfAttention

_FREQUENCIES = 32  #: of the embedding of time


class TimeEmbedding(nn.Module):
    """Sines and cosines of times in [0, 1] at 1 to 1000 radians, and two layers: (B,) -> (B, embed_dim)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, embed_dim), nn.SiLU(), nn.Linear(embed_dim, embed_dim)
        )

    def forward(self, t: Tensor) -> Tensor:
        """Return the embeddings."""
        rates = torch.exp(torch.linspace(0, math.log(1000), _FREQUENCIES, device=t.device))
        embedding: Tensor = self.mlp(_waves(t.float(), rates))
        return embedding


class UNet(nn.Module):
    """Residual blocks with FiLM at each scale, down and up again, joined at each; zero with fresh weights.

    What comes out is added to a factor of what went in, of each place and channel: where an image is air, its noise
    goes as a whole, which a network that has to rebuild noise number by number learns last.
    """

    def __init__(
        self, channels: int, widths: Sequence[int], blocks: int, attention: int, embed_dim: int
    ) -> None:
        """Make one with fresh weights.

        Args:
            channels: of what goes in and comes out.
            widths: features at each scale, the finest first; each scale has half the edge of the one before.
            blocks: residual ones of each scale, on the way down and on the way up.
            attention: how many of the coarsest scales have self-attention.
            embed_dim: of the embedding of time and conditions.
        """
        super().__init__()
        finer = list(pairwise(widths))
        has_attention = [place >= len(widths) - attention for place in range(len(widths))]

        def scales() -> nn.ModuleList:
            made = zip(widths, has_attention, strict=True)
            return nn.ModuleList(_Scale(width, blocks, attends, embed_dim) for width, attends in made)

        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.on_the_way_down = scales()
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in finer)
        self.middle = nn.ModuleList(_Scale(widths[-1], 1, attends, embed_dim) for attends in (True, False))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 3, padding=1) for fine, coarse in finer)
        self.join = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for width in widths)
        self.on_the_way_up = scales()
        self.leave = nn.Sequential(
            nn.GroupNorm(GROUPS, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 2 * channels, 3, padding=1)
        )
        last = self.leave[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return (B, channels, H, W) of (B, channels, H, W) and embeddings (B, embed_dim)."""
        h, passed = self.enter(x), []
        for place, scale in enumerate(self.on_the_way_down):
            h = scale(self.down[place - 1](h) if place else h, embedding)
            passed.append(h)
        for scale in self.middle:
            h = scale(h, embedding)
        for place in reversed(range(len(passed))):
            h = self.join[place](torch.cat([h, passed[place]], dim=1))
            h = self.on_the_way_up[place](h, embedding)
            if place:
                h = self.up[place - 1](functional.interpolate(h, scale_factor=2.0))
        added, factor = self.leave(h).chunk(2, dim=1)
        out: Tensor = added + factor * x
        return out


class _Scale(nn.Module):
    """Residual blocks of one scale, and self-attention after them or not."""

    def __init__(self, width: int, blocks: int, attends: bool, embed_dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, embed_dim, True, GROUPS) for _ in range(blocks))
        self.attention = SelfAttention(width) if attends else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        out: Tensor = self.attention(x)
        return out


class PublishedUNet(nn.Module):
    """The U-Net of the published diffusion model; its time is in [0, 1], at frequencies of 1 and below.

    So the embeddings of all times nearly coincide: a fault that is kept (docs/zoo.md).
    """

    def __init__(self, channels: int, widths: Sequence[int], blocks: int, embed_dim: int) -> None:
        """Make one with fresh weights.

        Args:
            channels: of what goes in and comes out.
            widths: features at each scale, the finest first.
            blocks: residual ones of each scale, on the way down and on the way up.
            embed_dim: of the embedding of time.
        """
        super().__init__()
        self.blocks, self.frequencies = blocks, embed_dim // 8
        self.time = nn.Sequential(
            nn.Linear(2 * self.frequencies, embed_dim), nn.SiLU(), nn.Linear(embed_dim, embed_dim)
        )
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.on_the_way_down, self.on_the_way_up = nn.ModuleList(), nn.ModuleList()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = widths[0]
        for place, width in enumerate(widths):
            if place:
                self.down.append(nn.Conv2d(before, before, 3, stride=2, padding=1))
            inputs = [before, *[width] * (blocks - 1)]
            self.on_the_way_down.extend(_published_blocks(inputs, width, embed_dim))
            before = width
        self.middle = _published_blocks([before, before], before, embed_dim)
        for place, width in enumerate(reversed(widths)):
            if place:
                self.up.append(nn.ConvTranspose2d(before, before, 4, stride=2, padding=1))
            inputs = [before + width, *[2 * width] * (blocks - 1)]
            self.on_the_way_up.extend(_published_blocks(inputs, width, embed_dim))
            before = width
        self.leave = nn.Sequential(
            nn.GroupNorm(GROUPS, before), nn.SiLU(), nn.Conv2d(before, channels, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return (B, channels, H, W) of (B, channels, H, W) and times (B,) in [0, 1]."""
        rates = torch.exp(torch.linspace(0, -math.log(10_000), self.frequencies, device=t.device))
        embedding = self.time(_waves(t.float(), rates))
        h, passed = self.enter(x), []
        for number, block in enumerate(self.on_the_way_down):
            place, first = divmod(number, self.blocks)
            h = block(self.down[place - 1](h) if place and not first else h, embedding)
            passed.append(h)
        for block in self.middle:
            h = block(h, embedding)
        for number, block in enumerate(self.on_the_way_up):
            place, first = divmod(number, self.blocks)
            h = self.up[place - 1](h) if place and not first else h
            h = block(torch.cat([h, passed.pop()], dim=1), embedding)
        out: Tensor = self.leave(h)
        return out


class _PublishedBlock(nn.Module):
    """x + SiLU(Norm(Conv(SiLU(FiLM(Norm(Conv(x))))))), 3x3; a 1x1 convolution where the widths differ."""

    def __init__(self, before: int, width: int, embed_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, padding=1)
        self.norm1 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.film = nn.Sequential(nn.SiLU(), nn.Linear(embed_dim, 2 * width))
        self.past = nn.Conv2d(before, width, 1) if before != width else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = functional.silu(self.norm1(self.conv1(x)) * (1 + scale) + shift)
        out: Tensor = functional.silu(self.norm2(self.conv2(inner))) + self.past(x)
        return out


def _published_blocks(inputs: Sequence[int], width: int, embed_dim: int) -> nn.ModuleList:
    return nn.ModuleList(_PublishedBlock(before, width, embed_dim) for before in inputs)


def _waves(t: Tensor, rates: Tensor) -> Tensor:
    angles = rates * t[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
