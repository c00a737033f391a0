"""A rectified flow over the coarse latents of a trained model: a prior fitted to what images are really encoded to.

What images are encoded to does not fill the model's own prior evenly; draws from that prior fall between.
Here a network learns the velocity v(x_t, t, c) that carries noise x_0 ~ N(0, I) along straight lines to latents x_1:
x_t = (1 - t) x_0 + t x_1, v = x_1 - x_0 (Liu et al., 2209.03003; Lipman et al., 2210.02747). The levels that are finer
than its own come from the model's prior, given these.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, Schema
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import Clock, Conditions, Encodes, Noise, Turn
from nlbs.models.distortion import DistortionEncoder
from nlbs.models.layers import ResidualBlock, SelfAttention
from nlbs.models.stages.fitted import Fitted
from nlbs.models.stages.flow_stage import FlowConfig

_EMBED_DIM = 256
_FREQUENCIES = 32  #: of the embedding of t
_GROUPS = 8


class LatentFlow(Fitted):
    """v(x_t, t, c) over the coarsest latents of a model, each scaled to mean 0 and deviation 1 per channel."""

    def __init__(self, config: FlowConfig, model: Encodes, schema: Schema = NLBS) -> None:
        """Make a flow with fresh weights for the latents of a model.

        Raises:
            ConfigError: the model has fewer levels, its global latent does not fill its coarsest map, or its coarsest
                latent is a map that cannot be halved so often.
        """
        super().__init__()
        self.config = config
        widths, levels = config.widths, len(config.widths) + config.folded
        self.shapes = map_shapes(model)[:levels]
        self.is_vector = len(model.latent_shapes[0]) == 1  #: the coarsest latent: nothing is coarser
        #: Sizes coarser than the coarsest map, on which no latent lies: the network looks at whole images there.
        self.coarser = 0 if self.is_vector or config.folded else levels - len(self.shapes)
        if len(self.shapes) + self.coarser < levels:
            raise ConfigError(
                f"a flow over {levels} levels is asked for, the model has {len(self.shapes)}; give "
                "flow.network.widths with fewer numbers, or folded: false"
            )
        if self.shapes[0][1] % (1 << self.coarser):
            raise ConfigError(
                f"latents of {self.shapes[0][1]} x {self.shapes[0][1]} cannot be halved {self.coarser} times; give "
                "flow.network.widths with fewer numbers"
            )
        self.condition_encoder = ConditionEncoder(_EMBED_DIM, schema)
        self.time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, _EMBED_DIM), nn.SiLU(), nn.Linear(_EMBED_DIM, _EMBED_DIM)
        )
        latents = [shape[0] for shape in self.shapes]
        maps = [*latents[:-2], latents[-2] + 4 * latents[-1]] if config.folded else latents
        ends = list(zip(maps, widths[self.coarser :], strict=True))
        self.enter = nn.ModuleList(nn.Conv2d(k, w, 3, padding=1) for k, w in ends)
        self.leave = nn.ModuleList(_leave(w, k) for k, w in ends)
        finer = list(zip(widths[1:], widths, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in finer)
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in finer)
        self.join = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for width in widths[1:])
        self.on_the_way_down = nn.ModuleList(_Stage(w, config, i) for i, w in enumerate(widths))
        self.on_the_way_up = nn.ModuleList(_Stage(w, config, i) for i, w in enumerate(widths))
        for number, channels in enumerate(latents):
            self.register_buffer(f"mean{number}", torch.zeros(1, channels, 1, 1))
            self.register_buffer(f"deviation{number}", torch.ones(1, channels, 1, 1))
        self.distortion = DistortionEncoder(_EMBED_DIM) if config.distort else None

    @property
    def distort(self) -> float:
        """That of its configuration."""
        return float(self.config.distort)

    def turns(self) -> Sequence[Turn]:
        """Return its one turn; the noise is x_0, and what times become of."""
        return [Turn("flow", list(self.parameters()), ("total",), noise=(*self.shapes, ()))]

    def terms(
        self, turn: str, inputs: Sequence[Tensor], conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the loss of latents, as a model's ``infer`` gives them."""
        # Times of the middle of the way more often: there the velocity is hardest (Esser et al., 2403.03206).
        return {
            "total": flow_loss(self, self.scaled(inputs), noise[:-1], torch.sigmoid(noise[-1]), conditions)
        }

    def begin(self, latents: Sequence[Tensor]) -> None:
        """Take means and deviations per channel of the latents."""
        self.set_scale(self.as_maps(latents))

    def forward(self, x: Sequence[Tensor], t: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the velocity of scaled latents (B, C, H, W) of each level at times t, (B,) in [0, 1]."""
        rates = torch.exp(torch.linspace(0, math.log(1000), _FREQUENCIES, device=t.device)) * t[:, None]
        embedding = self.time(torch.cat([rates.sin(), rates.cos()], dim=1)) + self.condition_encoder(
            conditions
        )
        if self.distortion is not None:
            embedding = self.distortion(embedding, conditions)
        embedding = functional.silu(embedding)
        x = self._folded(x)
        found: list[Tensor] = []
        h: Tensor | None = None
        for level in reversed(range(len(self.config.widths))):
            parts = [] if h is None else [self.down[level](h)]
            if level >= self.coarser:
                parts.insert(0, self.enter[level - self.coarser](x[level - self.coarser]))
            h = self.on_the_way_down[level](sum(parts[1:], parts[0]), embedding)
            found.insert(0, h)
        velocity = []
        for level, before in enumerate(found):
            if level:
                raised = functional.interpolate(self.up[level - 1](h), scale_factor=2.0)
                before = self.join[level - 1](torch.cat([before, raised], dim=1))
            h = self.on_the_way_up[level](before, embedding)
            if level >= self.coarser:
                velocity.append(self.leave[level - self.coarser](h).float())
        return self._unfolded(velocity)

    def _folded(self, levels: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self.config.folded:
            return levels
        return [*levels[:-2], torch.cat([levels[-2], functional.pixel_unshuffle(levels[-1], 2)], dim=1)]

    def _unfolded(self, maps: list[Tensor]) -> list[Tensor]:
        if not self.config.folded:
            return maps
        own, finest = torch.split(maps[-1], [self.shapes[-2][0], 4 * self.shapes[-1][0]], dim=1)
        return [*maps[:-1], own, functional.pixel_shuffle(finest, 2)]

    def set_scale(self, latents: Sequence[Tensor]) -> None:
        """Take means and deviations per channel from latents of many images, maps (n, C, H, W) of each level."""
        for number, level in enumerate(latents):
            getattr(self, f"mean{number}").copy_(level.mean(dim=(0, 2, 3), keepdim=True))
            getattr(self, f"deviation{number}").copy_(level.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-4))

    def is_scaled_like(self, other: "LatentFlow") -> bool:
        """Return whether another flow sees the same latents as the same numbers."""
        if self.shapes != other.shapes:
            return False
        return all(torch.equal(a, b) for a, b in zip(self.buffers(), other.buffers(), strict=True))

    def scaled(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Return a model's latents, as ``infer`` gives them, as this flow sees them: maps, of its levels alone."""
        return [
            (level - getattr(self, f"mean{i}")) / getattr(self, f"deviation{i}")
            for i, level in enumerate(self.as_maps(latents))
        ]

    def as_maps(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Return the latents of this flow's levels as maps (B, C, H, W)."""
        return [level.reshape(len(level), *shape) for level, shape in zip(latents, self.shapes, strict=False)]

    def unscaled(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return latents as a model's ``render`` takes them: the inverse of :meth:`scaled`."""
        latents = [
            level * getattr(self, f"deviation{i}") + getattr(self, f"mean{i}") for i, level in enumerate(maps)
        ]
        return [latents[0].flatten(start_dim=1), *latents[1:]] if self.is_vector else latents


def flow_loss(
    flow: LatentFlow,
    latents: Sequence[Tensor],
    noise: Sequence[Tensor],
    t: Tensor,
    conditions: Mapping[str, Tensor],
) -> Tensor:
    """Return the mean squared error of the velocity, a scalar: each level counts alike.

    Args:
        flow: to be fitted.
        latents: x_1, scaled, maps (B, C, H, W) of each level.
        noise: x_0 from N(0, I), of the same shapes.
        t: (B,) in [0, 1].
        conditions: codes, (B,) each, -1 unknown.
    """
    at = t[:, None, None, None]
    between = [(1 - at) * a + at * b for a, b in zip(noise, latents, strict=True)]
    velocity = flow(between, t, conditions)
    errors = [(v - (b - a)).square().mean() for v, a, b in zip(velocity, noise, latents, strict=True)]
    return torch.stack(errors).mean()


def map_shapes(model: Encodes) -> list[tuple[int, int, int]]:
    """Return the shapes (C, H, W) of a model's latents as maps: a global one lies on the coarsest map.

    Raises:
        ConfigError: it does not fill that map.
    """
    finer = [(shape[0], shape[1], shape[2]) for shape in model.latent_shapes if len(shape) == 3]
    if len(finer) == len(model.latent_shapes):
        return finer
    edge, latent_dim = model.coarsest_edge, math.prod(model.latent_shapes[0])
    channels, rest = divmod(latent_dim, edge * edge)
    if rest:
        raise ConfigError(
            f"a latent of {latent_dim} numbers does not fill a map of {edge} x {edge}, so no flow can be "
            f"fitted to it; take a model.latent_dim that is a multiple of {edge * edge}"
        )
    return [(channels, edge, edge), *finer]


class _Stage(nn.Module):
    """Residual blocks of one level, with self-attention where the level is coarse."""

    def __init__(self, width: int, config: FlowConfig, level: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(width, _EMBED_DIM, True, _GROUPS) for _ in range(config.blocks)
        )
        self.attention = SelfAttention(width) if level < config.attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        found: Tensor = self.attention(x)
        return found


def _leave(width: int, channels: int) -> nn.Sequential:
    last = nn.Conv2d(width, channels, 3, padding=1)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), last)
