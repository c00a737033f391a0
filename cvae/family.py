"""What the registry knows of the conditional VAE: sections and presets. No torch, so that commands start at once."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlbs.cvae.config import MODEL_PRESETS, LossConfig, ModelConfig, check_sections
from nlbs.manifests.schema import Schema
from nlbs.models.family import Family, ImageSpec
from nlbs.models.guidance import Guidance

if TYPE_CHECKING:
    from nlbs.models.contract import GenerativeModel
_STAGED = {"kl_anneal_share": 0.3, "level_weights": (1.0, 1.0, 2.0, 4.0, 8.0), "level_share": 0.6}
#: What changes brightness, contrast or noise would be drawn as well: a generator takes its patches as they are.
_FLIP_ALONE = {"rotation_deg": 0, "brightness": 0, "contrast": 0, "noise": 0}
_GENERATING = {
    "optimizer": "adamw",
    "precision": "auto",
    "betas": (0.9, 0.99),
    "weight_decay": 1e-2,
    "null_token_rate": 0.1,
    "ema_warms_up": True,
    "loss": _STAGED,
    "augment": _FLIP_ALONE,
}

#: name -> sections but for model and data.resolution, which stand in MODEL_PRESETS
_PRESETS: dict[str, dict[str, Any]] = {
    "guide": {},
    "guide-small": {
        "training": {
            "learning_rate": 4e-3,
            "min_learning_rate": 1e-5,
            "warmup_steps": 100,  # without, and while beta is 0, one seed in five ends in an infinite KL
            "epochs": 60,
            # The guide's weight of 1 holds a KL summed over the latent against an L1 averaged over the
            # pixels, and empties the latent. L1 + (b/N) KL is the likelihood of a Laplace scale b: with
            # b = 0.1 and N = 64 x 64 that is 2.5e-5, where the latent holds far more than draws from
            # N(0, I) can find again. 1e-3 keeps about 13 nats, and its draws are the smoothest.
            "loss": {"kl_weight": 1e-3, "kl_anneal_epochs": 10},
        },
        "data": {"batch_size": 32},
    },
    "nlbs": {
        "training": {
            **_GENERATING,
            "channels_last": True,
            "learning_rate": 1e-3,
            "min_learning_rate": 1e-5,
            "warmup_steps": 500,
            "ema_decay": 0.999,
        },
        "data": {"batch_size": 64},
        "flow": {"network": {"widths": (256, 192, 128), "blocks": 2, "folded": True}, "patches": 2_000_000},
        "autoguidance": {},
        "grain": {},
    },
    "nlbs-small": {
        "training": {
            **_GENERATING,
            "learning_rate": 3e-3,
            "min_learning_rate": 5e-5,
            "warmup_steps": 50,
            "ema_decay": 0.998,
            "epochs": 60,
        },
        "data": {"batch_size": 64},
        "flow": {},
        "autoguidance": {},
        "grain": {},
    },
}


def _sections(name: str) -> Mapping[str, Any]:
    model, resolution = MODEL_PRESETS[name]
    data = {"resolution": resolution, **_PRESETS[name].get("data", {})}
    return {**_PRESETS[name], "model": dataclasses.asdict(model), "data": data}


def _make(options: ModelConfig, image: ImageSpec, schema: Schema, loss: LossConfig) -> "GenerativeModel":
    from nlbs.cvae import model

    return model.ConditionalVAE(options, image.edge, loss, schema, image.channels)


FAMILY = Family(
    name="cvae",
    options=ModelConfig,
    make=_make,
    presets={name: _sections(name) for name in MODEL_PRESETS},
    title="conditional variational autoencoder",
    loss=LossConfig,
    check=check_sections,
    sampler="prior",
    solver_guidance=Guidance(1, {"cancer": 3}),
)
