"""The family of diffusion models with a preset that trains in a second."""

from dataclasses import replace

from nlbs.models import diffusion

PRESETS = {
    "diffusion": {
        "model": {
            "prediction": "v",
            "unshuffle": 2,
            "widths": (8, 16),
            "embed_dim": 16,
            "blocks": 1,
            "steps": 4,
        },
        "training": {"epochs": 2, "learning_rate": 0.001, "ema_decay": 0.5, "log_every_steps": 1},
        "data": {"resolution": 32, "batch_size": 8},
    }
}
FAMILY = replace(diffusion.FAMILY, presets=PRESETS)
