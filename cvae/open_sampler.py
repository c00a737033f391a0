"""Which sampler draws: the one place that chooses."""

from pathlib import Path

from nlbs.cvae.flow import FlowSampler
from nlbs.cvae.flow_file import flow_path, load_flow
from nlbs.cvae.model import ConditionalVAE
from nlbs.cvae.samplers import PriorSampler
from nlbs.errors import CheckpointError, ConfigError

#: "auto" is the flow where one lies beside the checkpoint.
SAMPLERS = ("auto", "flow", "prior")


def open_sampler(
    model: ConditionalVAE,
    checkpoint: Path,
    name: str = "auto",
    temperature: float = 1.0,
    guidance: float = 1.0,
    steps: int = 30,
) -> PriorSampler | FlowSampler:
    """Gives a sampler of a trained model.

    Args:
        model: on its device.
        checkpoint: its file, beside which the flow lies.
        name: of :data:`SAMPLERS`.
        temperature: factor of the prior's standard deviations.
        guidance: 1 draws as learned; above, the conditions count for more.
        steps: of the flow.

    Raises:
        ConfigError: there is no such sampler, or a number makes no sense.
        CheckpointError: there is no flow, or it does not fit.
    """
    if name not in SAMPLERS:
        raise ConfigError(f"there is no sampler {name!r}; known: {', '.join(SAMPLERS)}")
    path = flow_path(checkpoint)
    if name == "prior" or (name == "auto" and not path.exists()):
        return PriorSampler(model, temperature, guidance)
    if not path.exists():
        raise CheckpointError(
            f"there is no flow {path}; nlbs-train fits one once all epochs are over, where the preset has one (nlbs, "
            "nlbs-small); or draw with --sampler prior"
        )
    return FlowSampler(model, load_flow(path, model), steps, guidance, temperature)
