"""What the registry knows of latent diffusion: options and presets. No torch, so that commands start at once.

A KL autoencoder with a patch adversary makes small maps of patches (Rombach et al., 2112.10752; Esser et al.,
2012.09841), and a rectified flow, the stage ``flow``, learns what these maps are like (Liu et al., 2209.03003).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.family import Family, ImageSpec

if TYPE_CHECKING:
    from nlbs.models.contract import GenerativeModel

_GROUPS = 8  #: of every norm: what widths are multiples of
Width = Annotated[int, Field(ge=_GROUPS, le=16_384, multiple_of=_GROUPS)]
Weight = Annotated[float, Field(ge=0, le=1e12)]


@dataclass(frozen=True)
class LatentDiffusionConfig:
    """The autoencoder, and how the flow in its latents draws."""

    __pydantic_config__ = STRICT
    unshuffle: Annotated[int, Field(ge=1, le=64)] = 8  # pixels of a block of this edge become channels
    width: Width = 128  # features at each place of the map
    blocks: Annotated[int, Field(ge=1, le=64)] = 2  # residual ones of the encoder; the decoder has one more
    latent_channels: Annotated[int, Field(ge=1, le=16_384)] = 8  # of the map of latents
    condition_embed_dim: Annotated[int, Field(ge=0, le=16_384)] = (
        0  # of the autoencoder; 0: the flow alone sees them
    )
    adversary_width: Width = 32  # features of the discriminator's first maps
    # How the flow is drawn from unless told otherwise: by one of SOLVERS, in so many steps, or as the stage does.
    sampler: Literal["dpm", "ode", "sde", "flow"] = "dpm"
    steps: Annotated[int, Field(ge=1, le=100_000)] = 12


@dataclass(frozen=True)
class LatentDiffusionLoss:
    """Weights of the autoencoder's terms."""

    __pydantic_config__ = STRICT
    kl_weight: Weight = (
        0.03  # 1 is the likelihood's own, and leaves what a scale of the first hour takes for noise
    )
    detail_weight: Weight = 0.5  # of | |y_i - y_j| - |x_i - x_j| | over neighbours, where |y - x| counts 1
    adversary_weight: Weight = (
        0.5  # the norm of its gradient at the image, in that of the reconstruction term
    )
    adversary_share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of the run, from which on it takes part


def _check(options: LatentDiffusionConfig, loss: LatentDiffusionLoss, resolution: int) -> None:
    if resolution % options.unshuffle:
        raise ConfigError(
            f"a resolution of {resolution} cannot be divided by model.unshuffle {options.unshuffle}; take a multiple"
        )


def _make(
    options: LatentDiffusionConfig, image: ImageSpec, schema: Schema, loss: LatentDiffusionLoss
) -> "GenerativeModel":
    from nlbs.models.kl_autoencoder import KlAutoencoder

    return KlAutoencoder(options, image, schema, loss)


_TRAINING = {
    "optimizer": "adamw",
    "betas": (0.9, 0.99),
    "weight_decay": 1e-2,
    "learning_rate": 2e-3,
    "min_learning_rate": 1e-5,
    "warmup_steps": 100,
    "null_token_rate": 0.1,
    "ema_decay": 0.998,
    "ema_warms_up": True,
    "precision": "auto",
    #: What changes brightness, contrast or noise would be drawn as well.
    "augment": {"rotation_deg": 0, "brightness": 0, "contrast": 0, "noise": 0},
}
PRESETS: dict[str, dict[str, Any]] = {
    "latent-diffusion": {
        #: As many numbers as 32 x 32 x 8 would have, and as much work for the autoencoder, but half as much for the
        #: flow; with 16 channels dots of three pixels are lost (decision 39).
        "model": {"unshuffle": 16, "width": 256, "latent_channels": 32},
        "training": {**_TRAINING, "epochs": 80},
        "data": {"resolution": 256, "batch_size": 16},
        "flow": {
            "network": {"widths": (192, 128), "blocks": 2, "attention": 2, "distort": 0.5},
            "patches": 300_000,
            "reuse": 4,
            "batch_size": 32,
        },
        # What is rendered has a sixth of the finest octave of films.
        "grain": {"patches": 1000},
    },
    "latent-diffusion-small": {
        "model": {"width": 96, "latent_channels": 16, "steps": 8},
        "training": {**_TRAINING, "epochs": 120},
        "data": {"resolution": 64, "batch_size": 32},
        "flow": {
            #: Of some thousand images, that many patches are learnt by heart where none is distorted.
            "network": {"widths": (128, 96), "blocks": 2, "attention": 2, "distort": 0.5},
            "patches": 400_000,
            "reuse": 4,
            "batch_size": 16,  # more steps are worth more than quieter ones
        },
        # Draws go away from what a flow of so many patches draws, at half the width a quarter as costly (decision 36).
        "autoguidance": {"share": 1 / 16, "widths": (64, 48)},
    },
}
FAMILY = Family(
    "latent-diffusion", LatentDiffusionConfig, _make, PRESETS, LatentDiffusionLoss, _check, sampler="prior",
    title="latent diffusion model",
)  # fmt: skip
