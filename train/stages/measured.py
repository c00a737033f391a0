"""A stage that is measured on what the model renders of training patches: seconds at the end of a run."""

from collections.abc import Callable
from threading import Event
from typing import Any

import click
import torch

from nlbs.models.contract import Encodes, GenerativeModel, capable
from nlbs.models.stages.fitted import Fitted, Measure
from nlbs.models.stages.stage import PatchMeasuring
from nlbs.train.config import TrainConfig
from nlbs.train.data.stream import PatchStream
from nlbs.train.stages.encoded import as_trained_on, endless, identity_of
from nlbs.train.step import step_seed

_STREAM = 0x677261  #: keeps the random numbers of this part apart from others of the same seed


class MeasuredFit:
    """One way through as many training patches as are asked for."""

    step = 0  #: from which it goes on: it always starts anew

    def __init__(
        self,
        config: TrainConfig,
        name: str,
        measure: Callable[[int, torch.device], Measure],
        options: PatchMeasuring,
        model: GenerativeModel,
        stream: PatchStream,
    ) -> None:
        """Take what is measured, its name, and on what.

        Raises:
            ConfigError: the model cannot have such a stage.
        """
        self.config, self.name, self.options = config, name, options
        self.latents, self.stream, self.device = capable(model, Encodes, name), stream, model.device
        self.measure = measure(model.resolution, self.device)
        self.identity = identity_of(options, stream)  #: by which it is known again

    @torch.no_grad()
    def run(self, interrupted: Event) -> tuple[Fitted, dict[str, Any]]:
        """Return what came of it, and what its file says beside that. Raises KeyboardInterrupt; nothing is saved."""
        patches, seen = self.options.patches, 0
        click.echo(f"{self.name}: measured on {patches:,} patches")
        for number, batch in enumerate(endless(self.stream, self.device)):
            if interrupted.is_set():
                click.echo(
                    f"stopped while measuring the {self.name}; the same command measures it from the start"
                )
                raise KeyboardInterrupt
            torch.manual_seed(step_seed(self.config.training.seed, number, _STREAM))
            pixels, conditions = as_trained_on(self.config, batch)
            shapes = self.latents.latent_shapes
            noise = [torch.randn(len(batch), *shape, device=self.device) for shape in shapes]
            rendered = self.latents.render(self.latents.infer(pixels, conditions, noise), conditions)
            self.measure.add(pixels, rendered, seen / patches)
            seen += len(batch)
            if seen >= patches and number:  # a batch for each half, however small they are
                break
        return self.measure.result(), {}
