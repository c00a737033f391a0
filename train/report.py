"""What a run says of a step and of an epoch."""

from collections.abc import Mapping, Sequence

import numpy as np

from nlbs.cvae.latent_use import latent_use
from nlbs.train.config import TrainConfig
from nlbs.train.log import Log
from nlbs.train.run import Progress
from nlbs.train.schedule import annealed, learning_rate
from nlbs.train.step import Stepped


def report_step(log: Log, config: TrainConfig, progress: Progress, stepped: Stepped) -> None:
    """Writes the rows of the step that was just counted."""
    training = config.training
    more = {
        "beta": annealed(training.loss, progress.epoch, progress.done(config)),
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
    active: Sequence[int] = (),
) -> None:
    """Writes the rows of an epoch, and says them in a line.

    Args:
        log: where to.
        config: resolved.
        progress: at the end of the epoch, or where ``max_steps`` ends it.
        train, validation: means of the terms; None: there is no validation split.
        replaced: damaged patches that others stood in for.
        active: units of each latent that vary with the patch, see :mod:`nlbs.cvae.latent_use`; (): not counted.
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
    log.line(
        f"epoch {progress.epoch + 1}/{config.training.epochs}, step {progress.total_steps:,}: {'; '.join(parts)}; "
        f"beta {annealed(config.training.loss, progress.epoch, progress.done(config)):.3g}, {log.rate:.0f} patches/s, "
        f"{log.waiting:.1%} waiting for data{''.join(f', {note}' for note in notes)}"
    )


def warn_of_collapse(
    log: Log, config: TrainConfig, progress: Progress, validation: Mapping[str, float]
) -> None:
    """Says in words where the latent, or a level of it, holds nothing of the patches (Bowman et al., 1511.06349).

    Args:
        log: where to.
        config: resolved.
        progress: at the end of an epoch.
        validation: means of the terms on held-out patches, z at its mean.
    """
    loss, done = config.training.loss, progress.done(config)
    levels = {
        f"kl_{number}": np.array([value])
        for number in range(len(validation))
        if (value := validation.get(f"kl_{number}")) is not None
    } or {"kl": np.array([validation["kl"]])}
    if not all(np.isfinite(nats).all() for nats in levels.values()):
        return
    use = latent_use(levels)
    # While fine levels still pay more than their share, a dead one may yet come to life.
    settled = not loss.level_weights or done >= loss.level_share
    if use.collapsed:
        log.line(
            f"  warning: {use.sentence} What helps: --preset nlbs, whose likelihood finds its own scale; or a lower "
            "training.loss.kl_weight, a longer kl_anneal_epochs, or free_bits above 0"
        )
    elif settled and any(level.dead for level in use.levels):
        log.line(
            f"  warning: {use.sentence} What helps: higher training.loss.level_weights of the others at first"
        )


def _shown(terms: Mapping[str, float]) -> str:
    return "loss " + " ".join(f"{'' if n == 'total' else n + ' '}{v:.4g}" for n, v in terms.items())
