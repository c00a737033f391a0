"""What a stage has learnt: what latents are like, or the training patches by heart. Its loss on both splits tells."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nlbs.models.contract import Clock, GenerativeModel
from nlbs.models.stages.fitted import Fitted
from nlbs.models.stages.stage import Stage
from nlbs.train.config import TrainConfig
from nlbs.train.data.feed import to_device
from nlbs.train.data.stream import PatchStream
from nlbs.train.stages.encoded import Encoded, EncodedPatches
from nlbs.train.step import step_seed
from nlbs.train.turns import drawn

_STREAM = 0x6A7564  #: keeps the random numbers of this part apart from others of the same seed
_MOST = 512  #: patches of each split
_FEWEST = 32  #: patches whose mean tells
_BY_HEART = 1.1  #: times the loss on training patches, above which that on others says so


@dataclass(frozen=True)
class Judged:
    """Mean losses on patches as they are, the noise the same each time."""

    train: float
    val: float
    patches: int  #: of each split

    @property
    def by_heart(self) -> bool:
        """Whether training patches have become much easier than those that were not trained on: not said of few."""
        return self.patches >= _FEWEST and self.val > _BY_HEART * self.train

    def lines(self, stage: Stage, val_split: str, fitted: Fitted) -> list[str]:
        """Return it in words, with what to do where patches are learnt by heart."""
        name, section = stage.words, stage.section
        losses = f"loss {self.train:.3f} on training patches, {self.val:.3f} on those of {val_split!r}"
        found = [f"{name}: {losses}"]
        if self.by_heart:
            can_distort = hasattr(fitted.config, "distort") and not fitted.distort
            other = (
                f", or set {section}.network.distort to 0.5 in the file of --config" if can_distort else ""
            )
            found.append(
                f"Warning: the {name} learns its training patches by heart: what it draws will be like these, and "
                f"alike. Fit it to fewer patches ({section}.patches){other}"
            )
        return found


def judged(
    config: TrainConfig, fitted: Fitted, model: GenerativeModel, train: PatchStream, val: PatchStream
) -> Judged:
    """Return what has been fitted to latents has learnt, by its first turn.

    Args:
        config: resolved.
        fitted: in eval mode, on the device of the model.
        model: whose latents it is fitted to.
        train, val: streams of both splits; as many patches are taken of each, at most 512.
    """
    count = min(_MOST, train.num_patches, val.num_patches)
    train_loss, val_loss = (
        _loss(config, fitted, _some(config, model, stream, count)) for stream in (train, val)
    )
    return Judged(train_loss, val_loss, count)


def _some(config: TrainConfig, model: GenerativeModel, stream: PatchStream, count: int) -> Encoded:
    patches, parts, seen = EncodedPatches(config, model, stream, batches=1), [], 0
    for number in range(len(stream)):
        parts.append(patches.encoded(to_device(stream.read(0, number).only_valid(), model.device), number))
        seen += len(parts[-1])
        if seen >= count:
            break
    return Encoded.joined(parts).take(torch.arange(min(count, seen), device=model.device))


@torch.no_grad()
def _loss(config: TrainConfig, fitted: Fitted, latents: Encoded) -> float:
    turn, device = fitted.turns()[0], latents.levels[0].device
    torch.manual_seed(step_seed(config.training.seed, 0, _STREAM))
    noise = drawn(turn.noise, len(latents), device, slice(len(latents)))
    terms: dict[str, Tensor] = fitted.terms(
        turn.name, latents.levels, latents.conditions, noise, Clock(0, 1, 0, 1.0)
    )
    return float(terms["total"])
