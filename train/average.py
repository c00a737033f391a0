"""The exponential moving average of the weights."""

from typing import Any, cast

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nlbs.cvae.model import ConditionalVAE


def averaged(model: ConditionalVAE, decay: float) -> AveragedModel:
    """Gives an average that has seen no step yet: the first one sets it, each later one moves it by 1 - decay.

    Buffers are copied: BatchNorm's running statistics are averages already.
    """
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update).eval()


def weights_of(average: AveragedModel) -> ConditionalVAE:
    """Gives the model with the averaged weights."""
    return cast(ConditionalVAE, average.module)


def state_of(average: AveragedModel) -> dict[str, Any]:
    """Gives what :func:`restore` takes: the averaged weights and the steps that are in them."""
    return {"model": weights_of(average).state_dict(), "steps": int(average.n_averaged)}


def restore(average: AveragedModel, state: dict[str, Any]) -> None:
    """Puts an average where it was when :func:`state_of` was asked."""
    average.module.load_state_dict(state["model"])
    average.n_averaged.fill_(state["steps"])
