"""The section on latents: what they cost, and which of them are of use."""

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.intervals import mean_interval
from nlbs.evaluate.report import Section, Table
from nlbs.evaluate.study import Study
from nlbs.models.contract import Bounds, HasPrior, lacks
from nlbs.models.latent_use import active_units, latent_use


def latents(study: Study) -> Section:
    """Return KL per level and active units; say where the latent has collapsed.

    Raises:
        EvaluationError: the model bounds no likelihood, or has no prior.
    """
    if not isinstance(study.model, Bounds):
        raise EvaluationError(lacks(study.model, "bound a likelihood"))
    if not isinstance(study.model, HasPrior):
        raise EvaluationError(lacks(study.model, "hold its latents against a prior"))
    encoded = study.encoded
    levels = encoded.kl_levels
    names = ["z"] if levels.shape[1] == 1 else [f"level {number}" for number in range(1, levels.shape[1] + 1)]
    use = latent_use({name: levels[:, number] for number, name in enumerate(names)})
    section = Section("latents", "Latents", [use.sentence])
    if use.collapsed or any(level.dead for level in use.levels):
        section.attention.append(use.sentence)
    kl = [mean_interval(levels[:, number], study.held_out.patients) for number in range(len(names))]
    units = [active_units(shifts) for shifts in encoded.shifts]
    section.figures = {
        "nats": mean_interval(levels.sum(axis=1), study.held_out.patients),
        "collapsed": use.collapsed,
        "levels": [
            {"name": name, "nats": nats, "dead": level.dead}
            for name, nats, level in zip(names, kl, use.levels, strict=True)
        ],
        "active_units": [{"active": one.active, "total": one.total} for one in units],
    }
    section.tables.append(
        Table(
            f"KL of q(z | x, c) from the prior, {len(levels):,} held-out patches, coarse to fine",
            ["level", "nats", "share", "dead"],
            [
                (name, nats, one.share, one.dead)
                for name, nats, one in zip(names, kl, use.levels, strict=True)
            ],
        )
    )
    section.tables.append(
        Table(
            f"Active units, {len(encoded.shifts[0]):,} patches",
            ["latent", "active", "of"],
            [(number, one.active, one.total) for number, one in enumerate(units, 1)],
            "Units whose posterior mean, less the prior's and in its deviations, varies by more than .01 among patches "
            "(Burda et al. 1509.00519): with the patch, and not with its conditions or coarser latents.",
        )
    )
    return section
