"""A KL autoencoder of patches with a patch adversary: the first half of latent diffusion.

Rombach et al., 2112.10752, with the adversary of Esser et al., 2012.09841. Blocks of pixels become channels, and all
work is done at the size of the latents: that is what a CPU is quick at. The likelihood is that of
:mod:`nlbs.models.vae`: air, which stored patches have as exactly 0, and a Laplace distribution of tissue with a learned
scale. What draws is the flow in its latents (:mod:`nlbs.models.stages.flow`); N(0, I) is not what patches become.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from nlbs.manifests.schema import Schema
from nlbs.models.contract import Clock, Conditions, Doubts, Noise, Turn, full_precision
from nlbs.models.family import ImageSpec
from nlbs.models.gaussian_latent import GaussianLatentModel
from nlbs.models.latent_diffusion import LatentDiffusionConfig, LatentDiffusionLoss
from nlbs.models.layers import GROUPS, Layers, ResidualBlock
from nlbs.models.spatial_cvae import spatial_term
from nlbs.models.vae import LIKELIHOODS, LOGVAR_RANGE

_FIRST_LOG_SCALE, _SMALLEST_SCALE = -2.0, 0.004  # half a grey level of 256 is 0.004 on [-1, 1]
_SCALE_SPEED = 10.0  #: the scale has to follow the error down faster than weights move
_FIRST_LOGVAR = -4.0  #: of latents: where noise hides them at first, the decoder learns to leave them out
_RISING = 0.05  #: share of the run in which the adversary's weight rises, as it learns first
_LEAK = 0.2


class Maps(nn.Module):
    """Residual blocks of one size: (B, in, H, W), (B, D) -> (B, out, H, W); zero with fresh weights.

    No norm stands before the end, as it would hide from there how bright an image is.
    """

    def __init__(self, entering: int, width: int, leaving: int, blocks: int, embed_dim: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(entering, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, embed_dim, True, GROUPS) for _ in range(blocks))
        self.leave = nn.Conv2d(width, leaving, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the maps."""
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, embedding)
        out: Tensor = self.leave(x)
        return out


def cosines(edge: int, count: int) -> Tensor:
    """Return the cosines of the lowest frequencies over a block, orthonormal (DCT-II): (count, edge, edge)."""
    places = torch.arange(edge)
    waves = torch.cos(torch.pi / edge * (places + 0.5) * places[:, None]) * (2 / edge) ** 0.5
    waves[0] *= 0.5**0.5
    pairs = sorted(
        ((u, v) for u in range(edge) for v in range(edge)), key=lambda pair: (math.hypot(*pair), pair)
    )
    return torch.stack([torch.outer(waves[u], waves[v]) for u, v in pairs[:count]])


def discriminator(channels: int, width: int) -> Layers:
    """Return a network that scores windows of 38 pixels, 8 apart: (B, C, R, R) -> (B, 1, R / 8, R / 8)."""
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(_LEAK)]
    return Layers(*layers, spectral_norm(nn.Conv2d(4 * width, 1, 3, padding=1)))


class KlAutoencoder(GaussianLatentModel):
    """Two turns: the autoencoder rebuilds patches, the discriminator tells them from real ones."""

    family: ClassVar[str] = "latent-diffusion"

    def __init__(
        self, config: LatentDiffusionConfig, image: ImageSpec, schema: Schema, loss: LatentDiffusionLoss
    ) -> None:
        """Make a model with fresh weights."""
        edge = image.edge // config.unshuffle
        shape = (config.latent_channels, edge, edge)
        super().__init__(image, schema, shape, config.condition_embed_dim)
        self.coarsest_edge = edge
        self.config, self.loss = config, loss
        pixels, embed_dim = image.channels * config.unshuffle**2, max(1, config.condition_embed_dim)
        self.encoder = Maps(pixels, config.width, 2 * shape[0], config.blocks, embed_dim)
        self.decoder = Maps(shape[0], config.width, 2 * pixels, config.blocks + 1, embed_dim)
        self.to_cosines = nn.Conv2d(image.channels, shape[0], config.unshuffle, config.unshuffle, bias=False)
        self.of_cosines = nn.ConvTranspose2d(
            shape[0], image.channels, config.unshuffle, config.unshuffle, bias=False
        )
        self._begin_as_cosines()
        self.log_scale = nn.Parameter(torch.tensor(_FIRST_LOG_SCALE / _SCALE_SPEED))
        self.discriminator = discriminator(image.channels, config.adversary_width)

    @torch.no_grad()
    def _begin_as_cosines(self) -> None:
        """Set first weights: latents are a block's lowest frequencies, and hardly noisy; the networks do the rest."""
        channels = self.image.channels
        waves = cosines(self.config.unshuffle, -(-self.config.latent_channels // channels))
        for layer in (self.to_cosines, self.of_cosines):
            nn.init.zeros_(layer.weight)
            for number in range(min(self.config.latent_channels, channels * len(waves))):
                layer.weight[number, number % channels] = waves[number // channels]
        nn.init.constant_(self.encoder.leave.bias[self.config.latent_channels :], _FIRST_LOGVAR)  # type: ignore[index]

    @property
    def scale(self) -> Tensor:
        """The scale b of the likelihood of a pixel in [-1, 1]."""
        return (_SCALE_SPEED * self.log_scale).exp().clamp(min=_SMALLEST_SCALE)

    # Training.

    def turns(self) -> Sequence[Turn]:
        """Return both turns, the autoencoder's first."""
        judge = list(self.discriminator.parameters())
        own = [p for p in self.parameters() if all(p is not other for other in judge)]
        terms = ("total", "reconstruction", "kl", "detail", "adversary", "scale")
        shapes = self.latent_shapes
        return (
            Turn("autoencoder", own, terms, shapes, shapes),
            Turn("discriminator", judge, ("total", "real", "made"), shapes, shapes, betas=(0.5, 0.99)),
        )

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the terms of a turn: nats per pixel, the KL in nats, and hinge losses (Lim & Ye, 1705.02894)."""
        if turn == "discriminator":
            return self._judging(pixels, conditions, noise, clock)
        maps, _, _, nats = self.passed(pixels, conditions, noise)
        with full_precision(pixels.device):
            pixels, image, b = pixels.float(), self.shown(maps), self.scale
            error, kl = LIKELIHOODS["laplace"].error(maps, pixels, b), nats.mean()
            detail = spatial_term(image, pixels)
            total = (
                error
                + self.loss.kl_weight * kl / pixels[0].numel()
                + self.loss.detail_weight * detail / b.detach()
            )
        weight, adversary = self.scheduled(clock)["adversary_weight"], torch.zeros_like(kl)
        if weight:
            adversary, pull = self._adversary(image)
            with full_precision(pixels.device):
                # The gradient of |y - x| / b, a mean over pixels, has this norm at the image.
                norm = (pixels > -1).sum().sqrt() / (b.detach() * pixels.numel())
                pull = weight * norm / pull.norm().clamp(min=1e-12) * pull
                total = total + ((image - image.detach()) * pull).sum()  # 0, with that gradient
        names = self.turns()[0].terms
        return dict(zip(names, (total, error, kl, detail, adversary, self.scale), strict=True))

    def _adversary(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's hinge loss of images, and its gradient there, (B, C, R, R) float32."""
        with torch.enable_grad():
            shown = image.detach().requires_grad_()
            loss = -self.discriminator(shown).float().mean()
            (gradient,) = torch.autograd.grad(loss, shown)
        return loss.detach(), gradient.float()

    def _judging(
        self, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return hinge losses of half of the patches and of what they are rebuilt to: the other half costs as much."""
        if not self.scheduled(clock)["adversary_weight"] and clock.share < self.loss.adversary_share:
            still = 0 * torch.stack([p.float().sum() for p in self.discriminator.parameters()]).sum()
            return {"total": still, "real": still.detach(), "made": still.detach()}
        some = slice(None, None, 2 if len(pixels) > 1 else 1)
        with torch.no_grad():
            codes = {name: values[some] for name, values in conditions.items()}
            made = self.shown(self.passed(pixels[some], codes, [level[some] for level in noise])[0])
        scores = self.discriminator(torch.cat([pixels[some].float(), made])).float()
        on_real, on_made = scores.chunk(2)
        real, fake = functional.relu(1 - on_real).mean(), functional.relu(1 + on_made).mean()
        return {"total": real + fake, "real": real, "made": fake}

    def judged(self, means: Mapping[str, float]) -> float | None:
        """Return the negative evidence lower bound, nats per pixel; None where an adversary trades it for texture."""
        if self.loss.adversary_weight:
            return None
        pixels = self.image.channels * self.resolution**2
        return means["autoencoder_reconstruction"] + means["autoencoder_kl"] / pixels

    def scheduled(self, clock: Clock) -> dict[str, float]:
        """Return the adversary's weight, which rises from adversary_share of the run on: the discriminator leads."""
        risen = (clock.share - self.loss.adversary_share) / _RISING
        return {"adversary_weight": self.loss.adversary_weight * max(0.0, min(1.0, risen))}

    @property
    def doubts(self) -> Doubts:
        """What draws without a flow are."""
        return Doubts(
            own_draws="draws from N(0, I) are not what this family is for, as no patch is encoded to such latents: "
            "draw from the flow, which nlbs-train fits where the configuration has a section flow."
        )

    # Networks.

    def embedded(self, conditions: Conditions) -> Tensor:
        """Return (B, D) of conditions; zeros where the autoencoder sees none."""
        embedding = super().embedded(conditions)
        return embedding if embedding.shape[1] else embedding.new_zeros(len(embedding), 1)

    def encoded(self, pixels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of pixels in [-1, 1], maps (B, latent_channels, H, W)."""
        mu, logvar = self.encoder(functional.pixel_unshuffle(pixels, self.config.unshuffle), embedding).chunk(
            2, 1
        )
        return self.to_cosines(pixels) + mu, logvar.clamp(*LOGVAR_RANGE)

    def decoded(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the decoder's maps, means and logits of air, (B, 2 C, R, R)."""
        mean, air = functional.pixel_shuffle(self.decoder(z, embedding), self.config.unshuffle).chunk(2, 1)
        return torch.cat([self.of_cosines(z) + mean, air], dim=1)

    def shown(self, maps: Tensor) -> Tensor:
        """Return the means, and air where a pixel is rather air."""
        return LIKELIHOODS["laplace"].image(maps)
