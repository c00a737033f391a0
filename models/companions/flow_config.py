"""The network of a flow over latents. No torch, so that commands start at once."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from nlbs.config import STRICT

_MOST_CHANNELS, _MOST_LEVELS, _MOST_BLOCKS = 16_384, 16, 64

#: GroupNorm has 8 groups, attention 4 heads.
Width = Annotated[int, Field(ge=8, le=_MOST_CHANNELS, multiple_of=8)]


@dataclass(frozen=True)
class FlowConfig:
    """The network of a flow over latents (:mod:`nlbs.models.companions.flow`): a U-Net whose sizes are theirs."""

    __pydantic_config__ = STRICT
    widths: Annotated[tuple[Width, ...], Field(max_length=_MOST_LEVELS)] = (
        192,
        128,
        96,
    )  # features of each size of maps, coarsest first
    blocks: Annotated[int, Field(ge=1, le=_MOST_BLOCKS)] = (
        1  # residual blocks of each size, on the way down and on the way up
    )
    attention: Annotated[int, Field(ge=0, le=_MOST_LEVELS)] = (
        2  # so many of the coarsest sizes have self-attention
    )
    folded: bool = False  # one level more, its places laid four to one on the maps of the last of these
