"""Models side by side: tables, places, sentences and galleries of what was measured of each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from nlbs.evaluate.figures import ModelFigures, as_interval
from nlbs.evaluate.measures.intervals import Interval, leaders, places
from nlbs.evaluate.report import Picture, Section, Table, shown
from nlbs.suggestions import or_list

#: figure -> its name in a table, and whether more of it is better
_RANKED = {
    "seconds_per_1000": ("seconds per 1,000 draws", False),
    "frechet": ("Fréchet", False),
    "kernel": ("kernel", False),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "coverage": ("coverage", True),
    "control_mean": ("control, mean", True),
    "psnr_db": ("PSNR, dB", True),
    "ssim": ("SSIM", True),
    "bits": ("bits per number, at most", False),
    "auroc": ("anomaly AUROC", True),
}
_COST = {
    "parameters": "parameters",
    "minutes": "training minutes",
    "patches": "patches seen",
    "seconds_per_1000": "seconds per 1,000 draws, here",
}
_NEARNESS = {
    "frechet": "Fréchet",
    "frechet_floor": "its floor",
    "frechet_point_mass": "its point mass",
    "kernel": "kernel",
    "kernel_floor": "its floor",
    "kernel_point_mass": "its point mass",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "exponent": "spectral exponent",
    "exponent_real": "real",
    "top_octave": "top octave / real",
}
_OTHERS = {
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "bits": "bits per number, at most",
    "bound": "what bounds them",
    "auroc": "anomaly AUROC, by image",
    "copies": "copies",
    "flagged": "draws flagged",
}
Rows = Mapping[str, ModelFigures]


def comparison_sections(rows: Rows, failed: Mapping[str, str]) -> list[Section]:
    """Return the tables of models by their names, three sentences, and galleries; those that failed say why."""
    section = Section("comparison", "Which model", [])
    section.lead += (sentences := [_nearest(rows), _most_obedient(rows), _cheapest(rows)])
    section.lead.append(
        "Intervals: 95 %, by patient; of spectra by patch, of seconds by batch. Nothing is ranked whose intervals "
        "overlap."
    )
    section.attention += [f"{name} could not be judged: {why}" for name, why in failed.items()]
    section.attention += _doubts(rows)
    if len(_sizes(rows)) > 1:
        section.attention.append(
            "The models draw patches of different sizes, and each is judged at its own: all figures but cost compare "
            "within one size alone."
        )
    section.tables += [
        *_tables(rows),
        *_place_tables(rows),
        *([_lacking(rows)] if any(row.lacks for row in rows.values()) else []),
    ]
    section.figures = {
        "models": {
            name: {
                **row.about,
                "figures": row.figures,
                "lacks": row.lacks,
                "places": _all_places(rows).get(name),
            }
            for name, row in rows.items()
        },
        "failed": dict(failed),
        "sentences": sentences,
    }
    return [section, _galleries(rows)]


def _doubts(rows: Rows) -> list[str]:
    said: dict[str, list[str]] = {}
    for name, row in rows.items():
        for doubt in row.doubts:
            said.setdefault(doubt, []).append(name)
    return [f"{', '.join(names)}: {doubt}" for doubt, names in said.items()]


def _sizes(rows: Rows) -> dict[str, dict[str, ModelFigures]]:
    """Return the models by size: figures of different sizes do not compare."""
    found: dict[str, dict[str, ModelFigures]] = {}
    for name, row in rows.items():
        found.setdefault(row.size, {})[name] = row
    return found


def _intervals(rows: Rows, figure: str) -> dict[str, Interval]:
    """Return a figure of all models that have it."""
    if figure == "control_mean":
        return _mean_control(rows)
    found = {name: row.interval(figure) for name, row in rows.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def _mean_control(rows: Rows) -> dict[str, Interval]:
    """Return the mean control ratio over the conditions that were measured of all models which have any.

    Its ends are the means of the ends, which is wider than the interval of a mean of independent ratios.
    """
    ratios = {
        name: {
            key: one
            for key, value in (row.figures.get("control") or {}).items()
            if (one := as_interval(value))
        }
        for name, row in rows.items()
    }
    ratios = {name: one for name, one in ratios.items() if one}
    common = set.intersection(*(set(one) for one in ratios.values())) if ratios else set()
    if not common:
        return {}
    return {name: _mean([one[key] for key in sorted(common)]) for name, one in ratios.items()}


def _mean(every: Sequence[Interval]) -> Interval:
    value = float(np.mean([one.value for one in every]))
    lows = [one.low for one in every if one.low is not None]
    highs = [one.high for one in every if one.high is not None]
    known = len(lows) == len(highs) == len(every)
    low, high = (float(np.mean(lows)), float(np.mean(highs))) if known else (None, None)
    return Interval(value, low, high, every[0].level, min(one.groups for one in every))


def _all_places(rows: Rows) -> dict[str, dict[str, tuple[int, int]]]:
    """Return model -> figure -> its best and last possible place among models of its size."""
    found: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in rows}
    for same in _sizes(rows).values():
        for figure, (_, more) in _RANKED.items():
            for name, place in places(_intervals(same, figure), more).items():
                found[name][figure] = place
    return found


def _place_tables(rows: Rows) -> Iterator[Table]:
    every = _all_places(rows)
    for size, same in _sizes(rows).items():
        ranked = [figure for figure in _RANKED if any(figure in every[name] for name in same)]
        if len(same) < 2 or not ranked:
            continue
        body = [(name, *(_place(every[name].get(figure)) for figure in ranked)) for name in same]
        yield Table(
            f"Places among models of {size} pixels", ["", *(_RANKED[figure][0] for figure in ranked)], body,
            "1 is best. From the best place that a model may have to the last, where intervals overlap.",
        )  # fmt: skip


def _place(place: tuple[int, int] | None) -> str | None:
    if place is None:
        return None
    return str(place[0]) if place[0] == place[1] else f"{place[0]} to {place[1]}"


def _tables(rows: Rows) -> Iterator[Table]:
    devices = ", ".join(dict.fromkeys(row.about["device"] for row in rows.values()))
    stages = [
        f"{name}: {figure} {value:,}"
        for name, row in rows.items()
        for figure, value in row.figures.items()
        if figure.startswith("patches of ")
    ]
    yield _table(
        "What it costs", rows, _COST,
        f"Draws were timed on: {devices}. Minutes of training epochs, without validation and stages."
        f"{' Beside the patches of the model: ' + '; '.join(stages) + '.' if stages else ''}",
    )  # fmt: skip
    yield _table("How near its draws are to real patches", rows, _NEARNESS)
    yield _control_table(rows)
    yield _table(
        "What else it can do", rows, _OTHERS,
        "Bits are of the model with its own prior, also where draws are from a flow. AUROC of the negative ELBO; a "
        "model that learnt from abnormal images too finds them less odd.",
    )  # fmt: skip


def _table(title: str, rows: Rows, columns: Mapping[str, str], note: str = "") -> Table:
    body = [
        (name, row.about["family"], *(_cell(row.figures.get(key)) for key in columns))
        for name, row in rows.items()
    ]
    return Table(title, ["", "family", *columns.values()], body, note)


def _cell(value: Any) -> Any:
    return as_interval(value) if isinstance(value, Mapping) else value


def _lacking(rows: Rows) -> Table:
    """Return why there are dashes, what has one reason in one row."""
    words = _COST | _NEARNESS | _OTHERS
    said: dict[str, dict[str, list[str]]] = {}
    for name, row in rows.items():
        for key, why in row.lacks.items():
            said.setdefault(why, {}).setdefault(name, []).append(words.get(key, key))
    body = [
        (", ".join(names), ", ".join(figures), why)
        for why, of in said.items()
        for figures in dict.fromkeys(map(tuple, of.values()))
        if (names := [name for name, those in of.items() if tuple(those) == figures])
    ]
    return Table("Dashes, and why", ["", "figures", "reason"], body)


def _control_table(rows: Rows) -> Table:
    names = list(dict.fromkeys(name for row in rows.values() for name in row.figures.get("control") or {}))
    means = _intervals(rows, "control_mean")
    body = [
        (model, *(_cell((row.figures.get("control") or {}).get(name)) for name in names), means.get(model))
        for model, row in rows.items()
    ]
    return Table(
        "How far it obeys: control ratio of each condition", ["", *names, "mean"], body,
        "1: as plain as in real patches, 0: ignored. –: the model is not told "
        "it, or real patches do not show it. The mean is over conditions that all models have.",
    )  # fmt: skip


def _nearest(rows: Rows) -> str:
    said = []
    for among, same in _among(rows):
        if figures := _intervals(same, "frechet"):
            floor = shown(next(iter(same[name].figures["frechet_floor"] for name in figures)))
            first = _leading(f"Nearest to real patches{among}", figures, False, "Fréchet distance")
            said.append(f"{first}; real patches of other patients lie at {floor}.")
            mean = {name: same[name].figures["frechet_point_mass"] for name in figures}
            if poor := [name for name, figure in figures.items() if figure.value >= mean[name]]:
                said.append(f"No nearer than one mean patch, again and again: {', '.join(poor)}.")
    return " ".join(said) or "Which model is nearest to real patches was not measured."


def _most_obedient(rows: Rows) -> str:
    said = []
    for among, same in _among(rows):
        if figures := _intervals(same, "control_mean"):
            said.append(f"{_leading(f'Most obedient{among}', figures, True, 'mean control ratio')}.")
    return (
        " ".join(said) or "Which model is most obedient is not known: there is no control ratio to compare."
    )


def _cheapest(rows: Rows) -> str:
    seconds = _intervals(rows, "seconds_per_1000")
    sentence = _leading("Cheapest to draw from", seconds, False, "seconds per 1,000 draws")
    minutes = {name: one for name, row in rows.items() if (one := row.figures.get("minutes")) is not None}
    if not minutes:
        return f"{sentence}."
    least = min(minutes, key=lambda name: minutes[name])
    return f"{sentence}; trained for the fewest minutes: {least}, {shown(minutes[least])}."


def _among(rows: Rows) -> Iterator[tuple[str, Rows]]:
    """Yield the models of each size, and how a sentence says it where there are several."""
    sizes = _sizes(rows)
    for size, same in sizes.items():
        yield f" at {size}" if len(sizes) > 1 else "", same


def _leading(words: str, figures: Mapping[str, Interval], more: bool, figure: str) -> str:
    """Return which model leads; where intervals overlap, that it is one of several."""
    first = leaders(figures, more)
    values = "; ".join(str(shown(figures[name])) for name in first)
    unsure = ", which cannot be told apart" if len(first) > 1 else ""
    return f"{words}: {or_list(first)}{unsure}, {figure} {values}"


def _galleries(rows: Rows) -> Section:
    section = Section("galleries", "Side by side", [
        "Above, held-out real patches; below, what each model draws by the conditions of just these. A model that is "
        "not told a condition has no row there. Chosen at random."
    ])  # fmt: skip
    titles = dict.fromkeys(title for row in rows.values() for title in row.galleries)
    for title in titles:
        having = {name: row for name, row in rows.items() if title in row.galleries}
        first = max(having.values(), key=lambda row: int(row.about["resolution"]))
        pictures = [_picture(first.galleries[title]["real"], f"{title}: real")]
        pictures += [
            _picture(row.galleries[title]["drawn"], f"{title}: {name}") for name, row in having.items()
        ]
        section.pictures.append((title, pictures))
    section.figures = {"groups": len(titles)}
    return section


def _picture(uri: str, caption: str) -> Picture:
    return Picture(Markup(escape(uri)), caption)  # noqa: S704  # escaped: it may come from a file
