"""A spatial CVAE: encoder at several scales, attention, coordinates, and per pixel how sure it is.

After a conditional VAE of lipid maps of the brain, an MLP over N places. What is wrong in the original, found by
calculation: both of its attentions see a single token, so they are linear maps; 99.95 % of its spatial weights
1 / (d + eps) fall on i = j, where the term is 0; its bounds penalty comes after a sigmoid, and is always 0; a clamped
log-variance has no gradient beyond the clamp; the spatial term alone rewards a blurred image; the cyclical weight of
the KL divides by zero in a run of fewer than three epochs; widths, latent, rate and epochs are not published.

Here, for patches, and each part can be switched off: branches at 1/1, 1/2 and 1/4 of the size; self-attention over the
encoder's last map; coordinates of each pixel, in the patch as planes and Fourier features, and of the patch in the
breast by the condition ``position``; a decoder by cross-attention (queries: places with coordinates; keys and values:
tokens of the latent); a mean and a scale per pixel; a bounds penalty before anything is clamped; L1 on the means of
the latent; and a spatial term that compares the differences of neighbours with those of the image.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, POSITION, Schema
from nlbs.models.contract import Clock, Conditions
from nlbs.models.family import FLIPPED, MENDED, Family, ImageSpec
from nlbs.models.gaussian_latent import OneTurnModel
from nlbs.models.layers import ConvBlock, FiLM, ResidualBlock
from nlbs.models.vae import LOGVAR_RANGE, laplace_with_air

_HEADS, _GROUPS = 4, 8
_OCTAVES = 5  #: of the Fourier features of a pixel's place
_LATENT_MAPS = 32  #: of the encoder's last map before it becomes one vector
_GRID_SHARE = 4  #: the decoder's queries stand on a grid of a quarter of the edge
_FIRST_LOG_SCALE, _LOG_SCALES = -2.0, (-5.5, 2.0)  #: half a grey level of 256 is exp(-5.5) on [-1, 1]

Width = Annotated[int, Field(ge=8, le=16_384, multiple_of=_GROUPS)]
Weight = Annotated[float, Field(ge=0, le=1e12)]


@dataclass(frozen=True)
class SpatialConfig:
    """What it is made of; the defaults are those of ``spatial-cvae-small``, at 64 pixels."""

    __pydantic_config__ = STRICT
    # Features of the encoder after each halving.
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=10)] = (32, 64, 128)
    # The image is also seen so many times smaller, by branches of their own; 1 alone: one branch.
    scales: Annotated[tuple[Literal[1, 2, 4], ...], Field(min_length=1, max_length=3)] = (1, 2, 4)
    # Self-attention over the encoder's last map.
    self_attention: bool = True
    # Planes with each pixel's place for the encoder, Fourier features of it for the decoder.
    coordinates: bool = True
    # The decoder asks the tokens of the latent by attention; False: they are a grid that is enlarged.
    cross_attention: bool = True
    # A scale for each pixel; False: one for all.
    pixel_scale: bool = True
    # The mean is a learned factor of the decoder's map, and a learned shift.
    output_scale: bool = True
    latent_dim: Annotated[int, Field(ge=1, le=65_536)] = 256
    # Features of tokens and of the decoder.
    token_width: Width = 64
    condition_embed_dim: Annotated[int, Field(ge=1, le=16_384)] = 64


@dataclass(frozen=True)
class SpatialLoss:
    """Weights of the terms, in nats per pixel; 0 leaves one out."""

    __pydantic_config__ = STRICT
    kl_weight: Weight = 1.0
    # How the weight of the KL rises from 0: as a sine, again in each cycle; in stairs; straight.
    kl_schedule: Literal["cyclical", "progressive", "linear"] = "cyclical"
    # Cycles, or stairs, over the rising part of the run.
    kl_cycles: Annotated[int, Field(ge=1, le=1000)] = 3
    # Of the run, after which the weight stays.
    kl_share: Annotated[float, Field(gt=0, le=1)] = 0.6
    # Of the square by which means leave [-1, 1].
    bounds_weight: Weight = 10.0
    # Of mean |mu|.
    latent_l1_weight: Weight = 0.01
    # Of | |y_i - y_j| - |x_i - x_j| | over neighbours i, j of tissue.
    spatial_weight: Weight = 0.1


def cyclical(share: float, cycles: int) -> float:
    """Return (1 + sin(pi (2 p - 1/2))) / 2 in the first half p < 1/2 of each cycle, and 1 in the second."""
    place = min(1.0, 2 * (share * cycles % 1.0)) if share < 1 else 1.0
    return (1 + math.sin(math.pi * (place - 0.5))) / 2


def progressive(share: float, cycles: int) -> float:
    """Return stairs of equal length and height, from 0 to 1."""
    return min(1.0, math.floor(share * (cycles + 1)) / cycles)


#: The ways of training.loss.kl_schedule: the share of the weight, at a share of the rising part.
KL_SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "cyclical": cyclical,
    "progressive": progressive,
    "linear": lambda share, cycles: min(1.0, share),
}


def bounds_penalty(mean: Tensor) -> Tensor:
    """Return the mean square by which values leave [-1, 1]."""
    return functional.relu(mean.abs() - 1).square().mean()


def spatial_term(mean: Tensor, pixels: Tensor) -> Tensor:
    """Return the mean over neighbours i, j of tissue, below and beside, of | |y_i - y_j| - |x_i - x_j| |."""
    inside, sums, pairs = pixels > -1, mean.new_zeros(()), mean.new_zeros(())
    for axis in (2, 3):
        last = mean.shape[axis] - 1
        tissue = inside.narrow(axis, 0, last) & inside.narrow(axis, 1, last)
        apart = (mean.diff(dim=axis).abs() - pixels.diff(dim=axis).abs()).abs()
        sums, pairs = sums + (apart * tissue).sum(), pairs + tissue.sum()
    return sums / pairs.clamp(min=1)


class Attention(nn.Module):
    """x + attention of the rows of x, (B, N, W), to those of others, (B, M, W), or to its own (1706.03762)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.queries = nn.LayerNorm(width), nn.Linear(width, width)
        self.keys_values, self.leave = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, others: Tensor | None = None) -> Tensor:
        """Return rows of the shape of x."""
        normed = self.norm(x)
        keys, values = self.keys_values(normed if others is None else others).chunk(2, dim=2)
        heads = [
            rows.unflatten(2, (_HEADS, -1)).transpose(1, 2) for rows in (self.queries(normed), keys, values)
        ]
        found = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        out: Tensor = x + self.leave(found)
        return out


class Encoder(nn.Module):
    """Branches at several scales, joined and narrowed, with attention between the places of the last map."""

    def __init__(self, config: SpatialConfig, channels: int) -> None:
        super().__init__()
        self.config, width = config, config.widths[-1]
        entering = channels + 2 * config.coordinates
        self.branches = nn.ModuleList()
        for scale in config.scales:
            stages = config.widths[int(math.log2(scale)) :]
            self.branches.append(
                nn.Sequential(*(ConvBlock(a, b, True, _GROUPS) for a, b in pairwise((entering, *stages))))
            )
        self.join = nn.Conv2d(width * len(config.scales), width, 1)
        self.block = ResidualBlock(width, config.condition_embed_dim, True, _GROUPS)
        self.attention = Attention(width) if config.self_attention else None
        self.narrow = nn.Conv2d(width, _LATENT_MAPS, 1)

    def forward(self, pixels: Tensor, embedding: Tensor) -> Tensor:
        """Return the last map as one vector, (B, maps * edge * edge)."""
        if self.config.coordinates:
            planes = places(pixels.shape[-1], pixels).permute(2, 0, 1)
            pixels = torch.cat([pixels, planes.expand(len(pixels), -1, -1, -1)], dim=1)
        seen = [
            branch(functional.avg_pool2d(pixels, scale) if scale > 1 else pixels)
            for scale, branch in zip(self.config.scales, self.branches, strict=True)
        ]
        x: Tensor = self.block(self.join(torch.cat(seen, dim=1)), embedding)
        if self.attention is not None:
            x = self.attention(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])
        flat: Tensor = self.narrow(x).flatten(1)
        return flat


class Enlarge(nn.Module):
    """Conv 3x3 of the map at twice its size: (B, in, H, W) -> (B, out, 2H, 2W).

    Each pixel is made by as many weights as the next one. A transposed convolution of 3 x 3 and stride 2 makes them by
    1, 2, 2 and 4 in turn, which shows as a checkerboard (Odena et al. 2016, 10.23915/distill.00003).
    """

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the larger map."""
        larger: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0))
        return larger


class Decoder(nn.Module):
    """Places ask the tokens of a latent; what they are told is enlarged to the maps: mean, air, log-scale."""

    def __init__(self, config: SpatialConfig, image: ImageSpec, token_edge: int) -> None:
        super().__init__()
        width, embed_dim = config.token_width, config.condition_embed_dim
        self.config, self.image, self._token_edge = config, image, token_edge
        self.tokens = nn.Linear(config.latent_dim + embed_dim, width * token_edge**2)
        self.places = nn.Linear(4 * _OCTAVES, width) if config.coordinates else None
        self.conditions = nn.Linear(embed_dim, width)
        self.attention = Attention(width) if config.cross_attention else None
        self.block = ResidualBlock(width, embed_dim, True, _GROUPS)
        half = width // 2
        self.enlarge = nn.Sequential(Enlarge(width, half), nn.GroupNorm(_GROUPS // 2, half), nn.SiLU())
        self.film = FiLM(embed_dim, half)
        self.film.start_neutral()
        self.head = Enlarge(half, (2 + config.pixel_scale) * image.channels)

    def forward(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return maps (B, 2 or 3 * C, R, R)."""
        edge = self.image.edge // _GRID_SHARE
        tokens = self.tokens(torch.cat([z, embedding], dim=1)).unflatten(1, (self._token_edge**2, -1))
        asked = self.conditions(embedding).unsqueeze(1).expand(-1, edge**2, -1)
        if self.places is not None:
            asked = asked + self.places(fourier(places(edge, z)).flatten(0, 1).to(z))
        if self.attention is None:
            grid = tokens.transpose(1, 2).unflatten(2, (self._token_edge, self._token_edge))
            asked = asked + functional.interpolate(grid, size=(edge, edge)).flatten(2).transpose(1, 2)
        else:
            asked = self.attention(asked, tokens)
        x = self.block(asked.transpose(1, 2).unflatten(2, (edge, edge)), embedding)
        maps: Tensor = self.head(self.film(self.enlarge(x), embedding))
        return maps


def places(edge: int, like: Tensor) -> Tensor:
    """Return where the centres of pixels lie in the patch, across and down, (edge, edge, 2) in (-1, 1)."""
    centres = (2 * torch.arange(edge, device=like.device) + 1) / edge - 1
    down, across = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([across, down], dim=2).to(like.dtype)


def fourier(where: Tensor) -> Tensor:
    """Return sines and cosines of 1, 2, 4, ... half-waves over coordinates: (..., 2) -> (..., 4 * octaves)."""
    waves = (
        math.pi / 2 * where.float().unsqueeze(-1) * 2.0 ** torch.arange(_OCTAVES, device=where.device)
    ).flatten(-2)
    return torch.cat([waves.sin(), waves.cos()], dim=-1)


class SpatialCvae(OneTurnModel):
    """q(z | x, c) and p(x | z, c) with coordinates: of pixels in the patch, and by the conditions of the patch."""

    family: ClassVar[str] = "spatial-cvae"

    def __init__(self, config: SpatialConfig, image: ImageSpec, schema: Schema, loss: SpatialLoss) -> None:
        """Make a model with fresh weights.

        Raises:
            ConfigError: its images cannot be halved so often, or a branch would have no stage.
        """
        super().__init__(image, schema, (config.latent_dim,), config.condition_embed_dim)
        check_sections(config, loss, image.edge)
        self.config, self.loss = config, loss
        self.coarsest_edge = image.edge >> len(config.widths)
        flat = _LATENT_MAPS * self.coarsest_edge**2
        self.encoder = Encoder(config, image.channels)
        self.to_mu, self.to_logvar = nn.Linear(flat, config.latent_dim), nn.Linear(flat, config.latent_dim)
        self.decoder = Decoder(config, image, self.coarsest_edge)
        self.log_scale = None if config.pixel_scale else nn.Parameter(torch.zeros(()))
        self.factor, self.shift = None, None
        if config.output_scale:
            self.factor, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    @property
    def term_names(self) -> Sequence[str]:
        """The names of the terms."""
        return ("total", "reconstruction", "kl", "bounds", "latent_l1", "spatial", "scale")

    def weighed(self, maps: Tensor, mu: Tensor, kl: Tensor, pixels: Tensor, clock: Clock) -> Sequence[Tensor]:
        """Return the loss and its terms, each before its weight; the KL in nats, the others per pixel."""
        loss, (mean, air, scale) = self.loss, self._read(maps)
        error = laplace_with_air(torch.cat([mean, air], dim=1), pixels, scale)
        bounds, l1, spatial = bounds_penalty(mean), mu.abs().mean(), spatial_term(mean, pixels)
        beyond = loss.bounds_weight * bounds + loss.latent_l1_weight * l1 + loss.spatial_weight * spatial
        total = error + self.scheduled(clock)["beta"] * kl / pixels[0].numel() + beyond
        return total, error, kl, bounds, l1, spatial, scale.mean()

    def judged(self, means: Mapping[str, float]) -> float:
        """Return the negative evidence lower bound, nats per pixel: what regularises is no part of it."""
        return means["reconstruction"] + means["kl"] / (self.image.channels * self.resolution**2)

    def scheduled(self, clock: Clock) -> dict[str, float]:
        """Return beta, the weight of the KL."""
        share = min(1.0, clock.share / self.loss.kl_share)
        return {"beta": self.loss.kl_weight * KL_SCHEDULES[self.loss.kl_schedule](share, self.loss.kl_cycles)}

    def encoded(self, pixels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar."""
        flat = self.encoder(pixels, embedding)
        return self.to_mu(flat), self.to_logvar(flat).clamp(*LOGVAR_RANGE)

    def decoded(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the decoder's maps."""
        maps: Tensor = self.decoder(z, embedding)
        return maps

    def shown(self, maps: Tensor) -> Tensor:
        """Return the means, and air where a pixel is rather air."""
        mean, air, _ = self._read(maps)
        return torch.where(air > 0, -1.0, mean)

    def uncertainty(self, pixels: Tensor, conditions: Conditions) -> Tensor:
        """Return the expected |x - reconstruction| of each pixel, (B, C, R, R) on [-1, 1]; 0 where it is rather air."""
        embedding = self.embedded(self.checked(conditions))
        mu, _ = self.encoded(pixels, embedding)
        mean, air, scale = self._read(self.decoded(mu, embedding).float())
        return torch.where(air > 0, 0.0, scale.expand_as(mean))

    def _read(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, logit of air and scale of maps, all in float32."""
        mean, air, *logs = torch.split(maps, self.image.channels, dim=1)
        if self.factor is not None and self.shift is not None:
            mean = self.factor * mean + self.shift
        log_scale = logs[0] if self.log_scale is None else self.log_scale
        return mean, air, (log_scale + _FIRST_LOG_SCALE).clamp(*_LOG_SCALES).exp()


def check_sections(config: SpatialConfig, loss: Any, resolution: int) -> None:
    """Raise ConfigError where options and the edge of images do not fit together."""
    shrink = max(1 << len(config.widths), _GRID_SHARE)
    if resolution % shrink:
        raise ConfigError(
            f"a resolution of {resolution} cannot be halved by each of the {len(config.widths)} stages of "
            f"model.widths, and twice at least; take a multiple of {shrink}"
        )
    if max(config.scales) >= 1 << len(config.widths) or len(set(config.scales)) < len(config.scales):
        raise ConfigError(
            f"model.scales is {list(config.scales)}; expected each once, and below {1 << len(config.widths)}, so that "
            "each branch has a stage"
        )
    if any(width % _HEADS for width in (config.widths[-1], config.token_width)):
        raise ConfigError(f"the last of model.widths and model.token_width are divided among {_HEADS} heads")


_POSITIONED = Schema((*NLBS, POSITION)).as_json()
_TRAINING = {**MENDED, "epochs": 60, "augment": FLIPPED}
PRESETS: dict[str, dict[str, Any]] = {
    "spatial-cvae": {
        "model": {"widths": (32, 64, 128, 256), "latent_dim": 512, "token_width": 128},
        "training": _TRAINING,
        "data": {"resolution": 128, "batch_size": 64, "conditions": _POSITIONED},
    },
    "spatial-cvae-small": {
        "model": {},
        "training": _TRAINING,
        "data": {"resolution": 64, "batch_size": 64, "conditions": _POSITIONED},
    },
}
FAMILY = Family(
    "spatial-cvae", SpatialConfig, SpatialCvae, PRESETS, SpatialLoss, check_sections, sampler="prior",
    title="spatial conditional variational autoencoder",
)  # fmt: skip
