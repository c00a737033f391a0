"""The conditional VAE of lipid maps of the brain as published: an MLP over the pixels of a patch, all at once.

``spatial-cvae-published``, as far as it is published; its faults, kept: each of its attentions sees a single token, so
it is a linear map (softmax of one number is 1); the bounds penalty comes after a sigmoid, and is always 0; a clamped
log-variance has no gradient beyond the clamp; the error is a mean over pixels and the KL a sum over the latent, so even
half of the KL is thousands of times what it is in a likelihood; conditions but the places of pixels, the same for each
patch, do not enter, so it is conditional on nothing. Widths, latent, rate and epochs are not published: those of the
preset are ours, and so is how the parts of a gated block follow each other.

Mended, for patches: :mod:`nlbs.models.spatial_cvae`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.contract import Clock, Doubts
from nlbs.models.family import AS_THEY_ARE, PLAIN_ADAM, Family, ImageSpec, NoOptions
from nlbs.models.gaussian_latent import OneTurnModel

_HEADS, _DROPOUT, _AXES = 8, 0.1, 2
_LOGVAR_RANGE = (-6.0, 2.0)
_SQUEEZE = 4  #: how many times narrower squeeze-and-excitation is
_BOUNDS_WEIGHT, _L1_WEIGHT, _MOST_BETA, _CYCLES = 10.0, 0.01, 0.5, 3


@dataclass(frozen=True)
class SpatialMlpConfig:
    """What it is made of; neither number is published."""

    __pydantic_config__ = STRICT
    # h: of the narrowest of the three paths; the others have 2 h and 4 h.
    hidden: Annotated[int, Field(ge=24, le=16_384, multiple_of=24)] = 120
    latent_dim: Annotated[int, Field(ge=1, le=65_536)] = 64


class Path(nn.Sequential):
    """Linear, LayerNorm, GELU, dropout."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__(nn.Linear(before, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(_DROPOUT))


class GatedBlock(nn.Module):
    """Linear(x) + gate(x) * excited(LayerNorm(Linear(x))), from one width to another."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.features, self.skip = nn.Linear(before, width), nn.Linear(before, width)
        self.norm, self.gate = nn.LayerNorm(width), nn.Linear(before, width)
        self.squeeze, self.excite = nn.Linear(width, width // _SQUEEZE), nn.Linear(width // _SQUEEZE, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width)."""
        inner = functional.gelu(self.norm(self.features(x)))
        inner = inner * torch.sigmoid(self.excite(functional.relu(self.squeeze(inner))))
        out: Tensor = self.skip(x) + torch.sigmoid(self.gate(x)) * functional.dropout(
            inner, _DROPOUT, self.training
        )
        return out


class SingleTokenAttention(nn.Module):
    """x + attention to one other token: a linear map of that token, whatever x is."""

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.queries, self.keys_values = nn.Linear(width, width), nn.Linear(other, 2 * width)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (B, width)."""
        keys, values = self.keys_values(other).chunk(2, dim=1)
        heads = [rows.unflatten(1, (_HEADS, 1, -1)) for rows in (self.queries(x), keys, values)]
        out: Tensor = x + self.leave(functional.scaled_dot_product_attention(*heads).flatten(1))
        return out


class SpatialMlp(OneTurnModel):
    """Encoder and decoder over all pixels as one vector, with the places of the pixels beside them."""

    family: ClassVar[str] = "spatial-mlp"

    def __init__(self, config: SpatialMlpConfig, image: ImageSpec, schema: Schema, loss: Any = None) -> None:
        """Make a model with fresh weights."""
        super().__init__(image, schema, (config.latent_dim,), 0)
        self.config, self.coarsest_edge = config, 1
        h, points = config.hidden, math.prod((image.channels, image.edge, image.edge))
        where, beside = image.edge**2, _AXES * (h // 3)
        self.paths = nn.ModuleList(Path(points, times * h) for times in (1, 2, 4))
        self.narrow = nn.Sequential(GatedBlock(7 * h, 4 * h), GatedBlock(4 * h, 2 * h), GatedBlock(2 * h, h))
        self.axes = nn.ModuleList(nn.Linear(where, h // 3) for _ in range(_AXES))
        self.attention = SingleTokenAttention(h, beside)
        self.to_mu, self.to_logvar = nn.Linear(h, config.latent_dim), nn.Linear(h, config.latent_dim)
        self.enter = Path(config.latent_dim + beside, h)
        self.cross_attention = SingleTokenAttention(h, beside)
        self.widen = nn.Sequential(GatedBlock(h, 2 * h), GatedBlock(2 * h, 4 * h), nn.Linear(4 * h, points))
        self.factor, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    @property
    def term_names(self) -> Sequence[str]:
        """The names of the terms."""
        return ("total", "error", "kl", "bounds", "latent_l1")

    def weighed(self, maps: Tensor, mu: Tensor, kl: Tensor, pixels: Tensor, clock: Clock) -> Sequence[Tensor]:
        """Return MSE + 10 bounds + beta KL + 0.01 mean |mu|, with images in [0, 1], and these terms."""
        error = functional.mse_loss(maps, (pixels + 1) / 2)
        bounds, l1 = (functional.relu(-maps) + functional.relu(maps - 1)).mean(), mu.abs().mean()
        total = error + _BOUNDS_WEIGHT * bounds + self.scheduled(clock)["beta"] * kl + _L1_WEIGHT * l1
        return total, error, kl, bounds, l1

    def judged(self, means: Mapping[str, float]) -> float:
        """Return the total at the highest weight of the KL."""
        return means["error"] + _MOST_BETA * means["kl"] + _L1_WEIGHT * means["latent_l1"]

    def scheduled(self, clock: Clock) -> dict[str, float]:
        """Return beta: (1 + sin(pi (p - 1/2))) / 2 of its highest value, over each of three cycles."""
        place = clock.share * _CYCLES % 1.0
        return {"beta": _MOST_BETA * (1 + math.sin(math.pi * (place - 0.5))) / 2}

    @property
    def doubts(self) -> Doubts:
        """What it does not know."""
        return Doubts("this model, as published, sees no conditions: draws of all of them are alike.")

    def encoded(self, pixels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar."""
        flat = (pixels.flatten(1) + 1) / 2
        h = self.narrow(torch.cat([path(flat) for path in self.paths], dim=1))
        h = self.attention(h, self._beside(flat))
        return self.to_mu(h), self.to_logvar(h).clamp(*_LOGVAR_RANGE)

    def decoded(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return images in [0, 1], (B, C, R, R)."""
        beside = self._beside(z)
        h = self.cross_attention(self.enter(torch.cat([z, beside], dim=1)), beside)
        points = torch.sigmoid(self.factor * self.widen(h).float() + self.shift)
        return points.reshape(-1, self.image.channels, self.image.edge, self.image.edge)

    def shown(self, maps: Tensor) -> Tensor:
        """Return images in [-1, 1]."""
        return 2 * maps - 1

    def _beside(self, rows: Tensor) -> Tensor:
        """Return what the places of the pixels become, (B, 2 h / 3), the same for each patch."""
        places = pixel_places(self.resolution).to(rows)
        found = torch.cat([axis(places[number]) for number, axis in enumerate(self.axes)])
        return found.expand(len(rows), -1)


def pixel_places(edge: int) -> Tensor:
    """Return where pixels lie, across and down, (2, edge * edge) in (-1, 1)."""
    centres = (2 * torch.arange(edge) + 1) / edge - 1
    return torch.stack([centres.repeat(edge), centres.repeat_interleave(edge)])


def check_sections(config: SpatialMlpConfig, loss: Any, resolution: int) -> None:
    """Raise ConfigError where the weights would take more memory than a machine has."""
    if resolution > 256:
        raise ConfigError(
            f"an MLP over {resolution} x {resolution} pixels has billions of weights; take 256 at most"
        )


PRESETS: dict[str, dict[str, Any]] = {
    "spatial-cvae-published": {
        "model": {},
        "training": {
            **PLAIN_ADAM,
            "learning_rate": 1e-3,
            "min_learning_rate": 1e-3,
            "epochs": 60,
            "augment": AS_THEY_ARE,
        },
        "data": {"resolution": 64, "batch_size": 64},
    },
}
FAMILY = Family(
    "spatial-mlp", SpatialMlpConfig, SpatialMlp, PRESETS, NoOptions, check_sections, sampler="prior",
    title="conditional variational autoencoder",
)  # fmt: skip
