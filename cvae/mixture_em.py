"""Fitting a mixture of normals with diagonal covariances by expectation-maximisation (Dempster et al. 1977)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nlbs.errors import ConfigError

_ROWS = 4096  # whose densities are held at a time
_SMALLEST_SHARE = 1e-6  # of a dimension's variance: a component's is no smaller
_TOLERANCE = 1e-3  # nats per draw: a step that brings less is the last one


class Parameters(NamedTuple):
    """Of a mixture of K normals in d dimensions."""

    weights: Tensor  #: (K,) from 0 to 1, together 1
    means: Tensor  #: (K, d)
    variances: Tensor  #: (K, d)


class Fitted(NamedTuple):
    """Where the fit has ended."""

    parameters: Parameters  #: float64
    trace: tuple[
        float, ...
    ]  #: what is maximised, in nats per draw, before each step and after the last; never falls


class _Sums(NamedTuple):
    """Of all draws, weighted by how much of each a component answers for."""

    counts: Tensor  #: (K,)
    first: Tensor  #: (K, d)
    second: Tensor  #: (K, d), of the squares
    log_likelihood: float


def log_density(x: Tensor, mixture: Parameters) -> Tensor:
    """Gives log w_k + log N(x; m_k, diag v_k) of points (n, d) float64 under each component, (n, K)."""
    weights, means, variances = mixture
    precisions = 1 / variances
    squares = (
        x.square() @ precisions.T - 2 * x @ (means * precisions).T + (means.square() * precisions).sum(1)
    )
    logdet = (2 * math.pi * variances).log().sum(dim=1)
    return weights.log() - 0.5 * (squares + logdet)


def mean_log_likelihood(draws: Tensor, mixture: Parameters) -> float:
    """Gives the mean log-density of draws (n, d), in nats."""
    parts = torch.split(draws.double(), _ROWS)
    return sum(float(log_density(part, mixture).logsumexp(dim=1).sum()) for part in parts) / len(draws)


def fit_mixture(
    draws: Tensor, components: int, seed: int, pseudo_draws: float = 0.0, max_steps: int = 200
) -> Fitted:
    """Gives a mixture fitted to draws.

    With ``pseudo_draws`` the variances have a conjugate prior, as Fraley & Raftery (2007) regularise EM: what is
    maximised is the log-likelihood - pseudo_draws / 2 sum_kd (log v_kd + s_d / v_kd), s the variances of all draws.

    Args:
        draws: (n, d) floats.
        components: K, at most n.
        seed: not negative; the same one gives the same mixture.
        pseudo_draws: so many draws as wide as all of them each component has beside its own: one of few draws stays
            wide, and gives back none of them.
        max_steps: the fit ends there, or where a step brings less than 0.001 nats per draw.

    Raises:
        ConfigError: there are fewer draws than components.
    """
    if not 1 <= components <= len(draws):
        raise ConfigError(
            f"a mixture of {components} components is to be fitted to {len(draws)} latents; give mixture.components "
            "from 1 to that number"
        )
    x = draws.double()
    spread = x.var(dim=0, correction=0).clamp(min=1e-12)
    starts = x[_far_apart(x / spread.sqrt(), components, seed)]
    weights = torch.full((components,), 1 / components, dtype=x.dtype, device=x.device)
    mixture = Parameters(weights, starts, spread.expand(components, -1).clone())
    trace: list[float] = []
    for _ in range(max_steps + 1):
        sums = _expectation(x, mixture)
        penalty = 0.5 * pseudo_draws * float((mixture.variances.log() + spread / mixture.variances).sum())
        trace.append((sums.log_likelihood - penalty) / len(x))
        if len(trace) > max_steps or (len(trace) > 1 and trace[-1] - trace[-2] < _TOLERANCE):
            break
        mixture = _maximisation(sums, mixture, spread, pseudo_draws)
    return Fitted(mixture, tuple(trace))


def _far_apart(x: Tensor, count: int, seed: int) -> Tensor:
    """Gives rows that lie far from each other: k-means++ (Arthur & Vassilvitskii 2007)."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(x), (), generator=generator))]
    nearest = (x - x[chosen[0]]).square().sum(dim=1)
    while len(chosen) < count:
        # Where all draws are chosen already but for equal ones, any will do.
        odds = (nearest + 1e-12).cpu().cumsum(0)
        at = torch.rand((), generator=generator, dtype=odds.dtype) * odds[-1]
        chosen.append(min(int(torch.searchsorted(odds, at)), len(x) - 1))
        nearest = torch.minimum(nearest, (x - x[chosen[-1]]).square().sum(dim=1))
    return torch.tensor(chosen, device=x.device)


def _expectation(x: Tensor, mixture: Parameters) -> _Sums:
    counts, first = torch.zeros_like(mixture.weights), torch.zeros_like(mixture.means)
    second, total = torch.zeros_like(mixture.means), 0.0
    for part in torch.split(x, _ROWS):
        densities = log_density(part, mixture)
        likelihood = densities.logsumexp(dim=1)
        shares = (densities - likelihood[:, None]).exp()
        counts += shares.sum(dim=0)
        first += shares.T @ part
        second += shares.T @ part.square()
        total += float(likelihood.sum())
    return _Sums(counts, first, second, total)


def _maximisation(sums: _Sums, before: Parameters, spread: Tensor, pseudo_draws: float) -> Parameters:
    counts = sums.counts[:, None]
    # A component that answers for no draw stays where it is; its weight is 0 from here on.
    means = torch.where(counts > 0, sums.first / counts.clamp(min=1e-300), before.means)
    scatter = (sums.second - counts * means.square()).clamp(min=0)
    variances = (scatter + pseudo_draws * spread) / (counts + pseudo_draws).clamp(min=1e-300)
    weights = sums.counts / sums.counts.sum()
    return Parameters(weights, means, torch.maximum(variances, _SMALLEST_SHARE * spread))
