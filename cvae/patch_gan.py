"""A conditional PatchGAN: a discriminator that says of each patch of an image whether it looks real, and its losses."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from nlbs.cvae.conditioning import ConditionEncoder
from nlbs.errors import ConfigError

_SMALLEST_PX = 8
_MOST_WEIGHT = 1e4  #: as in the code of 2012.09841


class PatchDiscriminator(nn.Module):
    """D(x, c), one logit for each patch of an image: above 0 it looks real, and like its conditions.

    Convolutions 4x4, some with stride 2, then two with stride 1 (Isola et al., 1611.07004), so that a logit sees 70 x
    70 pixels of images of 128 pixels and more, 34 x 34 of 64, 16 x 16 below. Conditions enter by projection (Eq. 3 of
    1802.05637): logit = psi(x) + <e(c), k(x)>. No norm looks at the images, of which real and made ones would know each
    other; the spectral norm of every weight is 1 (1802.05957).
    """

    def __init__(self, resolution: int, channels: int, embed_dim: int) -> None:
        """Makes one with fresh weights.

        Args:
            resolution: of the images, in pixels.
            channels: of the first convolution; doubled by each after it, up to eightfold.
            embed_dim: of the conditions' embedding.

        Raises:
            ConfigError: the images are too small.
        """
        super().__init__()
        if resolution < _SMALLEST_PX:
            raise ConfigError(
                f"a discriminator of patches takes images of {_SMALLEST_PX} x {_SMALLEST_PX} pixels or more, found "
                f"{resolution} x {resolution}; leave training.sharpening out"
            )
        halving = min(max(int(math.log2(resolution)) - 4, 1), 3)
        layers: list[nn.Module] = []
        before = 1
        for number in range(halving + 1):
            width = channels * min(2**number, 8)
            layers += [_conv(before, width, stride=2 if number < halving else 1), nn.LeakyReLU(0.2)]
            before = width
        # One channel for psi, the others for k.
        self.layers = nn.Sequential(*layers, _conv(before, 1 + embed_dim, stride=1))
        self.condition_encoder = ConditionEncoder(embed_dim)
        for layer in self.condition_encoder.mlp:
            if isinstance(layer, nn.Linear):
                spectral_norm(layer)

    @property
    def num_parameters(self) -> int:
        """How many numbers its training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, images: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Gives the logits of the patches, (B, h, w) float32.

        Args:
            images: (B, 1, R, R) in [-1, 1].
            conditions: codes, (B,) int64 each on the device of the images, -1 unknown.
        """
        with parametrize.cached():
            with torch.autocast(
                images.device.type, enabled=False
            ):  # norms in float32, whatever the pass is in
                _ = [layer.weight for layer in self.modules() if parametrize.is_parametrized(layer, "weight")]
            maps = self.layers(images).float()
            embedding = self.condition_encoder(conditions).float()
        logits: Tensor = maps[:, 0] + torch.einsum("be,behw->bhw", embedding, maps[:, 1:])
        return logits


def _conv(channels: int, width: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(channels, width, kernel_size=4, stride=stride, padding=1)
    spectral_norm(conv)
    return conv


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Gives the hinge loss E[max(0, 1 - D(x))] + E[max(0, 1 + D(G))] of logits (1705.02894), a scalar."""
    return (1 - real).relu().mean() + (1 + made).relu().mean()


def generator_loss(made: Tensor) -> Tensor:
    """Gives -E[D(G)] of logits (1705.02894), a scalar."""
    return -made.mean()


def adaptive_weight(of_reconstruction: Tensor, of_adversary: Tensor) -> Tensor:
    """Gives lambda = |g_rec| / (|g_adv| + delta), at most 10,000: Eq. 7 of 2012.09841.

    With it both losses pull equally at the decoder, whatever their scales.

    Args:
        of_reconstruction, of_adversary: gradients of the two losses with respect to the last layer's weights.
    """
    norms = torch.linalg.vector_norm(of_reconstruction), torch.linalg.vector_norm(of_adversary)
    weight: Tensor = (norms[0] / (norms[1] + 1e-6)).clamp(max=_MOST_WEIGHT)
    return weight
