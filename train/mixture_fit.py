"""Fits a Gaussian mixture to the coarsest latent of a trained model: seconds to minutes at the end of a run."""

import math
from pathlib import Path
from threading import Event

import click
import torch
from torch import Tensor

from nlbs.cvae.checkpoint import load_checkpoint
from nlbs.cvae.mixture import LatentMixture
from nlbs.cvae.mixture_em import Fitted, Parameters, fit_mixture, mean_log_likelihood
from nlbs.cvae.mixture_file import open_mixture, save_mixture
from nlbs.cvae.model import ConditionalVAE
from nlbs.cvae.sampler_choice import mixture_path
from nlbs.train.config import TrainConfig
from nlbs.train.encoded import as_trained_on, endless
from nlbs.train.feed import DeviceBatch
from nlbs.train.fitted import identity_of, is_there
from nlbs.train.precision import autocast
from nlbs.train.run import RunFolder
from nlbs.train.step import step_seed
from nlbs.train.stream import PatchStream

_STREAM = 0x6D6978  #: keeps the random numbers of this part apart from others of the same seed
_HELD_OUT_SHARE = 10  # so many times fewer validation patches tell what the fit is worth


def fit_mixture_to_run(
    config: TrainConfig,
    training: PatchStream,
    held_out: PatchStream | None,
    run_folder: RunFolder,
    device: torch.device,
    interrupted: Event,
) -> Path | None:
    """Fits a mixture to the best model of a finished run and writes it beside that, where it is not there yet.

    Args:
        config: resolved, with a ``mixture``.
        training: of the training split.
        held_out: of the validation split, for the figure that is said; None: there is none.
        run_folder: with best_model.safetensors.
        device: of this process.
        interrupted: set when the fit is to leave.

    Returns:
        The file; None where there is no best model.

    Raises:
        KeyboardInterrupt: interrupted; nothing is saved.
        NlbsError: a checkpoint cannot be read or written, or there are fewer patches than components.
    """
    settings = config.mixture
    if settings is None or not run_folder.best_model.exists():
        return None
    model = load_checkpoint(run_folder.best_model, device).requires_grad_(False)
    path = mixture_path(run_folder.best_model)
    identity = identity_of(settings, training)
    if is_there("mixture", path, identity, lambda: open_mixture(path, model)[1]):
        return path
    click.echo(f"mixture: encodes {settings.patches:,} patches")
    draws = _latents(config, model, training, settings.patches, interrupted)
    # A patch that is encoded several times counts as one.
    times = max(1.0, settings.patches / training.num_patches)
    fitted = fit_mixture(
        draws, settings.components, config.training.seed, times * settings.pseudo_patches, settings.max_steps
    )
    judged, name = draws, training.split
    if held_out is not None:
        count = min(held_out.num_patches, max(1, settings.patches // _HELD_OUT_SHARE))
        judged, name = _latents(config, model, held_out, count, interrupted), held_out.split
    gain = mean_log_likelihood(judged, fitted.parameters) - _under_the_prior(judged)
    alone = mean_log_likelihood(judged, _one_normal(draws)) - _under_the_prior(judged)
    click.echo(_in_words(fitted, draws, f"{len(judged):,} {name} patches", gain, alone))
    figures = {"gain_nats": gain, "one_normal_nats": alone, "judged_on": f"{len(judged)} {name} patches"}
    save_mixture(path, LatentMixture(fitted.parameters), model, identity | figures)
    return path


def _latents(
    config: TrainConfig, model: ConditionalVAE, stream: PatchStream, count: int, interrupted: Event
) -> Tensor:
    """Gives standardised latents (count, latent_dim), float32 on the CPU, each drawn from a patch's posterior."""
    parts: list[Tensor] = []
    left = count
    for number, batch in enumerate(endless(stream, next(model.parameters()).device)):
        if interrupted.is_set():
            click.echo("stopped while encoding for the mixture; the same command fits it from the start")
            raise KeyboardInterrupt
        parts.append(_encode(config, model, batch, number)[:left].cpu())
        left -= len(parts[-1])
        if not left:
            break
    return torch.cat(parts)


@torch.no_grad()
def _encode(config: TrainConfig, model: ConditionalVAE, batch: DeviceBatch, number: int) -> Tensor:
    """Gives u = (z - mean(c)) / deviation(c) of z ~ q(z | x, c), flipped at random as in training."""
    torch.manual_seed(step_seed(config.training.seed, number, _STREAM))
    pixels, conditions = as_trained_on(config, batch)
    with autocast(config.training, pixels.device):
        mean, logvar = model.encode(pixels, conditions)
        prior = model.coarse_prior(conditions)
    z = mean.float() + torch.exp(0.5 * logvar.float()) * torch.randn(mean.shape, device=mean.device)
    u: Tensor = (z - prior.mean.float()) * torch.exp(-0.5 * prior.logvar.float())
    return u


def _under_the_prior(draws: Tensor) -> float:
    """Gives the mean log-density of draws under N(0, I), in nats."""
    return float(-0.5 * (draws.double().square() + math.log(2 * math.pi)).sum(dim=1).mean())


def _one_normal(draws: Tensor) -> Parameters:
    """Gives the one normal that fits draws best: what the components add is what goes beyond it."""
    variance, mean = torch.var_mean(draws.double(), dim=0, keepdim=True, correction=0)
    return Parameters(torch.ones(1, dtype=mean.dtype), mean, variance.clamp(min=1e-12))


def _in_words(fitted: Fitted, draws: Tensor, judged: str, gain: float, alone: float) -> str:
    return (
        f"mixture: {len(fitted.parameters.weights)} components fitted to {len(draws):,} patches in "
        f"{len(fitted.trace) - 1} steps; on {judged} {gain:+.2f} nats each over the prior (one normal: {alone:+.2f})"
    )
