"""What a model is made of: widths, latent, conditioning. No torch, so that commands start at once."""

import difflib
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.text import shown

#: Far above what any machine trains, and low enough that no product of a few of them is absurd.
MOST_CHANNELS, MOST_LATENTS, MOST_LEVELS, MOST_BLOCKS = 16_384, 65_536, 16, 64
MOST_RESOLUTION = 16_384

Count = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]  # of channels, groups or features
Blocks = Annotated[int, Field(ge=1, le=MOST_BLOCKS)]
Width = Annotated[
    int, Field(ge=8, le=MOST_CHANNELS, multiple_of=8)
]  # GroupNorm has 8 groups, attention 4 heads
Resolution = Annotated[int, Field(ge=1, le=MOST_RESOLUTION)]  # edge of images in pixels
Levels = Field(max_length=MOST_LEVELS)


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
    """The decoder: the encoder's widths backwards, then the one grey channel."""

    __pydantic_config__ = STRICT
    # The first is the width that the latent unfolds to.
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

    def __post_init__(self) -> None:
        """Raises ConfigError where the parts do not fit together."""
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
        """Raises ConfigError where images of that edge cannot be halved by every block."""
        if resolution < self.shrink or resolution % self.shrink:
            raise ConfigError(
                f"a resolution of {resolution} cannot be halved by each of the "
                f"{len(self.encoder.channels)} encoder blocks; take a multiple of {self.shrink}"
            )


@dataclass(frozen=True)
class FlowConfig:
    """The network of a flow over latents (:mod:`nlbs.cvae.flow`): a U-Net whose sizes are theirs."""

    __pydantic_config__ = STRICT
    widths: Annotated[tuple[Width, ...], Levels] = (
        192,
        128,
        96,
    )  # features of each size of maps, coarsest first
    blocks: Blocks = 1  # residual blocks of each size, on the way down and on the way up
    attention: Annotated[int, Field(ge=0, le=MOST_LEVELS)] = (
        2  # so many of the coarsest sizes have self-attention
    )
    folded: bool = False  # one level more, its places laid four to one on the maps of the last of these


def _generating(channels: tuple[int, ...], skips: tuple[int, ...]) -> ModelConfig:
    """Gives what makes the guide's network generate, in given widths: each part may be switched off alone."""
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
    "nlbs-small": (_generating((32, 64, 128, 256), (8, 4, 2, 1)), 64),
}


def model_preset(name: str) -> tuple[ModelConfig, int]:
    """Gives the model of a preset and the edge of its images in pixels.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if name not in MODEL_PRESETS:
        raise ConfigError(f"there is no preset {name!r}; {nearest(name, list(MODEL_PRESETS))}")
    return MODEL_PRESETS[name]


def checked_resolution(value: object) -> int:
    """Return the edge of images that a file says.

    Raises:
        ConfigError: it is no whole number, or one that no image has.
    """
    if type(value) is not int or not 1 <= value <= MOST_RESOLUTION:
        raise ConfigError(
            f"its resolution is {shown(value)}; expected a whole number from 1 to {MOST_RESOLUTION}"
        )
    return value


def nearest(word: str, known: list[str]) -> str:
    """Gives the advice that an error about an unknown word ends with."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {found[0]!r}?" if found else f"known: {', '.join(known)}"
