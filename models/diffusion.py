"""What the registry knows of diffusion models: options and presets. No torch, so that commands start at once.

``diffusion-published`` is the model of https://github.com/pleiadian53/genai-lab to the letter, its size "tiny"; what is
wrong in it stands in docs/zoo.md. ``diffusion-small`` and ``diffusion`` are ours: mended, and told what to draw.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.family import Family, ImageSpec, NoOptions

if TYPE_CHECKING:
    from nlbs.models.contract import GenerativeModel

_GROUPS = 8  #: of every norm: what widths are multiples of
Width = Annotated[int, Field(ge=_GROUPS, le=16_384, multiple_of=_GROUPS)]


@dataclass(frozen=True)
class DiffusionConfig:
    """A diffusion model. The defaults are those of diffusion-small."""

    __pydantic_config__ = STRICT
    # v: v = signal noise - deviation image (2202.00512); edm: the same for images of deviation data_deviation
    # (2206.00364); score: everything as published, without conditions.
    prediction: Literal["v", "edm", "score"] = "edm"
    data_deviation: Annotated[float, Field(gt=0, le=10)] = 0.5  # of pixels in [-1, 1], for edm
    # Of what pixels differ by from the mean of their block of unshuffle, for edm: near what images have, a network
    # begins as the best linear filter of means and details, and learns the rest. None: as all pixels.
    detail_deviation: Annotated[float, Field(gt=0, le=10)] | None = 0.05
    schedule: Literal["cosine", "linear", "quadratic"] = "cosine"
    shift: Annotated[float, Field(gt=0, le=100)] = 1.0  # factor of the noise at each time: edge / 64
    unshuffle: Annotated[int, Field(ge=1, le=64)] = 4  # pixels of a block of this edge become channels
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)] = (64, 96)  # finest scale first
    blocks: Annotated[int, Field(ge=1, le=64)] = 2  # of each scale, on the way down and up
    attention: Annotated[int, Field(ge=0, le=16)] = 1  # scales that have self-attention, the coarsest
    embed_dim: Annotated[int, Field(ge=16, le=16_384)] = 256  # of time and conditions
    sampler: Literal["dpm", "ode", "sde"] = "dpm"  # how it draws unless told otherwise
    steps: Annotated[int, Field(ge=1, le=100_000)] = 20  # of that sampler

    def __post_init__(self) -> None:
        """Raise ConfigError where the parts do not fit together."""
        published = DiffusionConfig.__dataclass_fields__
        if self.prediction == "score" and (self.unshuffle, self.attention, self.shift) != (1, 0, 1):
            raise ConfigError(
                "model.prediction score is the model as published, which has none of model.unshuffle, model.attention "
                f"and model.shift; set them to 1, 0 and 1, or take {published['prediction'].default}"
            )

    @property
    def shrink(self) -> int:
        """How many times smaller the coarsest maps are than the image, along an edge."""
        return self.unshuffle << (len(self.widths) - 1)


def _check(options: DiffusionConfig, loss: NoOptions, resolution: int) -> None:
    if resolution % options.shrink:
        raise ConfigError(
            f"a resolution of {resolution} cannot be divided by {options.shrink}: model.unshuffle {options.unshuffle} "
            f"and {len(options.widths)} scales in model.widths; take a multiple of {options.shrink}, or fewer scales"
        )


def _make(options: DiffusionConfig, image: ImageSpec, schema: Schema, loss: NoOptions) -> "GenerativeModel":
    from nlbs.models.denoiser import DiffusionModel

    return DiffusionModel(options, image, schema)


#: What changes brightness, contrast or noise would be drawn as well: a generator takes its patches as they are.
_FLIP_ALONE = {"rotation_deg": 0, "brightness": 0, "contrast": 0, "noise": 0}
_MENDED = {
    "optimizer": "adamw",
    "betas": (0.9, 0.99),
    "weight_decay": 1e-2,
    "null_token_rate": 0.1,
    "ema_warms_up": True,
    "precision": "auto",  # bfloat16 is nearly twice as quick on a CPU that knows it, too
    "augment": _FLIP_ALONE,
}
PRESETS: dict[str, dict[str, Any]] = {
    "diffusion-published": {
        "model": {
            "prediction": "score",
            "unshuffle": 1,
            "widths": (16, 32, 64),
            "blocks": 1,
            "attention": 0,
            "embed_dim": 64,
            "sampler": "sde",
            "steps": 500,
        },
        "training": {
            "learning_rate": 2e-4,
            "min_learning_rate": 2e-4,
            "weight_decay": 0.0,
            "samples_every_steps": 2000,  # a page takes 500 passes
            "epochs": 100,
            "augment": {**_FLIP_ALONE, "horizontal_flip": 0},
        },
        "data": {"resolution": 64, "batch_size": 32},
    },
    "diffusion-small": {
        "model": {},
        "training": {
            **_MENDED,
            "learning_rate": 1e-3,
            "min_learning_rate": 1e-5,
            "warmup_steps": 100,
            "ema_decay": 0.999,
            "epochs": 60,
        },
        "data": {"resolution": 64, "batch_size": 64},
    },
    "diffusion": {
        "model": {"shift": 4.0, "widths": (128, 256, 384, 512), "attention": 2, "embed_dim": 512},
        "training": {
            **_MENDED,
            "channels_last": True,
            "learning_rate": 3e-4,
            "min_learning_rate": 1e-5,
            "warmup_steps": 1000,
            "ema_decay": 0.9995,
            "epochs": 200,
        },
        "data": {"resolution": 256, "batch_size": 64},
    },
}

FAMILY = Family(
    "diffusion", DiffusionConfig, _make, PRESETS, check=_check, denoises=True, title="diffusion model"
)
