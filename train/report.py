"""What a run says of a step and of an epoch."""

from collections.abc import Mapping, Sequence

from nlbs.train.config import TrainConfig
from nlbs.train.log import Log
from nlbs.train.run import Progress
from nlbs.train.schedule import learning_rate
from nlbs.train.step import Stepped


def report_step(
    log: Log, config: TrainConfig, progress: Progress, stepped: Stepped, scheduled: Mapping[str, float]
) -> None:
    """Write the rows of the step that was just counted, with what the model's schedules say."""
    training = config.training
    more = {
        **scheduled,
        "learning_rate": learning_rate(training, progress.total_steps - 1, progress.steps_per_epoch),
        "grad_norm": stepped.grad_norm,
        "skipped": progress.skipped,
    }
    log.values("train", progress.total_steps, progress.epoch, stepped.terms | more)
    log.speed(progress.total_steps, progress.epoch)


def report_epoch(
    log: Log,
    config: TrainConfig,
    progress: Progress,
    train: Mapping[str, float],
    validation: Mapping[str, float] | None,
    replaced: int,
    active: Sequence[int],
    scheduled: Mapping[str, float],
) -> None:
    """Write the rows of an epoch, and says them in a line.

    Args:
        log: where to.
        config: resolved.
        progress: at the end of the epoch, or where ``max_steps`` ends it.
        train, validation: means of the terms; None: there is no validation split.
        replaced: damaged patches that others stood in for.
        active: units of each latent that vary with the patch, see :mod:`nlbs.models.latent_use`; (): not counted.
        scheduled: what the model's schedules say.
    """
    values = {f"train_{name}": value for name, value in train.items()}
    values |= {f"val_{name}": value for name, value in (validation or {}).items()}
    values |= {f"active_units_{level}": count for level, count in enumerate(active)}
    log.values("epoch", progress.total_steps, progress.epoch, values)
    log.speed(progress.total_steps, progress.epoch)
    parts = [f"train {_shown(train)}"] + ([f"val {_shown(validation)}"] if validation else [])
    notes = [f"{progress.skipped} steps skipped"] if progress.skipped else []
    notes += [f"active units {', '.join(map(str, active))}"] if active else []
    notes += [f"damaged patches replaced: {replaced}"] if replaced else []
    schedules = "".join(f"{name} {value:.3g}, " for name, value in scheduled.items())
    log.line(
        f"epoch {progress.epoch + 1}/{config.training.epochs}, step {progress.total_steps:,}: {'; '.join(parts)}; "
        f"{schedules}{log.rate:.0f} patches/s, "
        f"{log.waiting:.1%} waiting for data{''.join(f', {note}' for note in notes)}"
    )


def _shown(terms: Mapping[str, float]) -> str:
    return "loss " + " ".join(f"{'' if n == 'total' else n + ' '}{v:.4g}" for n, v in terms.items())
