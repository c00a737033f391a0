"""What a model is made of: widths, latent, conditioning. No torch, so that commands start at once."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field

from nlbs.config import STRICT, nearest
from nlbs.errors import ConfigError

MOST_CHANNELS, MOST_LATENTS, MOST_LEVELS, MOST_BLOCKS = 16_384, 65_536, 16, 64

Count = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]  # of channels, groups or features
Levels = Field(max_length=MOST_LEVELS)
_LARGEST = 1e12  # of weights; far above any use
Epochs = Annotated[int, Field(ge=0, le=10**12)]
Weight = Annotated[float, Field(ge=0, le=_LARGEST)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class EncoderConfig:
    """The encoder: one 3x3 stride-2 block per entry of ``channels``."""

    __pydantic_config__ = STRICT
    channels: Annotated[tuple[Count, ...], Levels] = (
        64,
        128,
        256,
        512,
    )  # features after each block; each halves the size
    use_group_norm: bool = True  # False: BatchNorm2d everywhere, in the decoder as well
    groups: Count = 8  # of GroupNorm; blocks with fewer channels than this take BatchNorm2d


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder: the encoder's widths backwards, then the channels of an image."""

    __pydantic_config__ = STRICT
    # The first is the width that the latent unfolds to; the last stands for the image, 1 for colours as well.
    channels: Annotated[tuple[Count, ...], Field(max_length=MOST_LEVELS + 1)] = (512, 256, 128, 64, 1)
    use_skip_connections: bool = True  # add the encoder's features; when sampling there are none
    film_starts_neutral: bool = False  # first weights with gamma = 1, beta = 0; False: torch's, near 0
    # Channels of a latent after each block, in place of skips; (): none.
    stochastic_skips: Annotated[tuple[Count, ...], Levels] = ()
    residual_blocks: Annotated[int, Field(ge=0, le=MOST_BLOCKS)] = 1  # after each stochastic skip
    clean_head: bool = False  # FiLM, deconv, tanh; False: deconv, norm, SiLU, FiLM as in every block
    head_channels: Count = 16  # of the last maps where a stochastic skip has the full resolution


@dataclass(frozen=True)
class ModelConfig:
    """The guide's network. The defaults are the guide's own."""

    __pydantic_config__ = STRICT
    latent_dim: Annotated[int, Field(ge=1, le=MOST_LATENTS)] = 256
    condition_embed_dim: Count = 128
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    use_posterior_bias: bool = True  # the conditions shift mu and logvar
    conditional_prior: bool = False  # the conditions shift the prior, and the posterior with it
    latent_in_film: bool = False  # every FiLM sees the latent beside the conditions
    learned_scale: bool = False  # the loss is a likelihood, whose scale is learned with the weights
    # How its flow is drawn from unless told otherwise: by one of SOLVERS in so many steps, or as the stage does.
    sampler: Literal["dpm", "ode", "sde", "flow"] = "flow"
    steps: Annotated[int, Field(ge=1, le=100_000)] = 8  # of that one of SOLVERS

    def __post_init__(self) -> None:
        """Raise ConfigError where the parts do not fit together."""
        widths, groups = self.encoder.channels, self.encoder.groups
        if not widths:
            raise ConfigError("model.encoder.channels is empty; expected one width per block, e.g. [64, 128]")
        expected = (*reversed(widths), 1)
        if self.decoder.channels != expected:
            raise ConfigError(
                f"model.decoder.channels is {list(self.decoder.channels)}, but the decoder mirrors the "
                f"encoder: with model.encoder.channels {list(widths)} it is {list(expected)}"
            )
        self._check_skips()
        uneven = [width for width in widths if width >= groups and width % groups]
        if self.encoder.use_group_norm and uneven:
            raise ConfigError(
                f"model.encoder.channels has {uneven[0]}, which model.encoder.groups = {groups} does not "
                f"divide; take a multiple of {groups}, or other groups"
            )

    def _check_skips(self) -> None:
        decoder = self.decoder
        levels, blocks = len(decoder.stochastic_skips), len(self.encoder.channels)
        if levels and decoder.use_skip_connections:
            raise ConfigError(
                "model.decoder.stochastic_skips stand in place of skip connections; set use_skip_connections: false"
            )
        if levels > blocks:
            raise ConfigError(
                f"model.decoder.stochastic_skips has {levels} levels, but the decoder has {blocks} blocks; give at "
                f"most {blocks}, coarsest first"
            )
        if levels == blocks and not decoder.clean_head:
            raise ConfigError(
                "a stochastic skip at full resolution (the last of model.decoder.stochastic_skips) needs "
                "model.decoder.clean_head: true"
            )

    @property
    def shrink(self) -> int:
        """How many times smaller the encoder's last feature map is than the image, along an edge."""
        return 1 << len(self.encoder.channels)

    def check_resolution(self, resolution: int) -> None:
        """Raise ConfigError where images of that edge cannot be halved by every block."""
        if resolution < self.shrink or resolution % self.shrink:
            raise ConfigError(
                f"a resolution of {resolution} cannot be halved by each of the "
                f"{len(self.encoder.channels)} encoder blocks; take a multiple of {self.shrink}"
            )


@dataclass(frozen=True)
class LossConfig:
    """Weights of the guide's three terms."""

    __pydantic_config__ = STRICT
    reconstruction_weight: Weight = 1.0  # of the mean L1
    kl_weight: Weight = 1.0  # beta after annealing, of the KL summed over the latent
    edge_weight: Weight = 0.1  # of the mean L1 between Laplacians
    kl_anneal_epochs: Epochs = 20  # beta rises from 0 over these; 0: no annealing
    kl_schedule: Literal["linear", "cyclical", "progressive"] = "linear"  # cyclical: again and again
    free_bits: Weight = 0.0  # nats of KL that each latent dimension has for nothing
    kl_anneal_share: Share | None = (
        None  # beta rises straight over this share of the run, in place of the epochs
    )
    level_weights: Annotated[
        tuple[Weight, ...], Levels
    ] = ()  # factors of each level's KL at the start, coarsest first; (): 1
    level_share: Share = 0.6  # of the run, over which these go straight to 1


def check_sections(model: ModelConfig, loss: LossConfig, resolution: int) -> None:
    """Check that model, loss and the edge of images in pixels fit together.

    Raises:
        ConfigError: they do not.
    """
    model.check_resolution(resolution)
    levels = 1 + len(model.decoder.stochastic_skips)
    if loss.level_weights and len(loss.level_weights) != levels:
        raise ConfigError(
            f"training.loss.level_weights has {len(loss.level_weights)} factors, but the model has {levels} levels "
            "of latents; give one for each, coarsest first, or none: []"
        )
    if loss.free_bits and model.conditional_prior:
        raise ConfigError(
            "training.loss.free_bits counts nats against N(0, I), and model.conditional_prior has another prior; "
            "leave one of them out"
        )


def _generating(channels: tuple[int, ...], skips: tuple[int, ...]) -> ModelConfig:
    """Return what makes the guide's network generate, in given widths: each part may be switched off alone."""
    decoder = DecoderConfig(
        (*reversed(channels), 1),
        use_skip_connections=False,
        film_starts_neutral=True,
        stochastic_skips=skips,
        clean_head=True,
    )
    return ModelConfig(
        encoder=EncoderConfig(channels),
        decoder=decoder,
        use_posterior_bias=False,
        conditional_prior=True,
        latent_in_film=True,
        learned_scale=True,
    )


#: name -> (model, edge of its images in pixels)
MODEL_PRESETS: dict[str, tuple[ModelConfig, int]] = {
    "guide": (ModelConfig(), 256),
    "guide-small": (
        ModelConfig(
            latent_dim=64,
            encoder=EncoderConfig(channels=(32, 64, 128, 256)),
            # Without skips the image passes four FiLMs: gammas near 0 let no gradient through.
            decoder=DecoderConfig(
                channels=(256, 128, 64, 32, 1), use_skip_connections=False, film_starts_neutral=True
            ),
        ),
        64,
    ),
    "nlbs": (_generating((64, 128, 256, 512), (8, 4, 2, 1)), 256),
    # As near to real patches as by the flow's own rule, and nearly four times as quick (docs/decisions/0038).
    "nlbs-small": (replace(_generating((32, 64, 128, 256), (8, 4, 2, 1)), sampler="dpm"), 64),
}


def model_preset(name: str) -> tuple[ModelConfig, int]:
    """Return the model of a preset and the edge of its images in pixels.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if name not in MODEL_PRESETS:
        raise ConfigError(f"there is no preset {name!r}; {nearest(name, list(MODEL_PRESETS))}")
    return MODEL_PRESETS[name]
