"""Which sampler draws: the one place where flags become an object of :mod:`nlbs.cvae.samplers`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from nlbs.cvae import ConditionalVAE
    from nlbs.cvae.samplers import Sampler

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class SamplerChoice:
    """The flags that choose a sampler."""

    temperature: float = 1.0

    def __str__(self) -> str:
        """Gives it in words, at most 64 characters: every output says it."""
        return f"prior, temperature {self.temperature:g}"

    def open(self, model: "ConditionalVAE") -> "Sampler":
        """Gives the sampler over a trained model.

        Raises:
            ConfigError: it cannot be had of this model.
        """
        from nlbs.cvae.samplers import PriorSampler

        return PriorSampler(model, self.temperature)


def sampler_options(command: Command) -> Command:
    """Adds the flags of a :class:`SamplerChoice` to a command, under the names of its fields."""
    return click.option(
        "--temperature",
        type=click.FloatRange(min=0),
        default=1.0,
        show_default=True,
        help="Factor of the prior's standard deviations: below 1, likelier and less diverse patches.",
    )(command)
