"""Tables, places and sentences of made-up figures."""

from typing import Any

from nlbs.evaluate.figures import ModelFigures
from nlbs.evaluate.sections.comparison import comparison_sections

DRAWS = "data:image/png;base64,AAAA"


def between(low: float, high: float) -> dict[str, Any]:
    return {"value": (low + high) / 2, "low": float(low), "high": float(high), "level": 0.95, "groups": 20}


def model(
    frechet: tuple[float, float], seconds: tuple[float, float], resolution: int = 64, **more: Any
) -> ModelFigures:
    about = {"family": "toy", "resolution": resolution, "fit": "downsample", "device": "a processor"}
    figures = {
        "frechet": between(*frechet),
        "frechet_floor": 30.0,
        "frechet_point_mass": 200.0,
        "seconds_per_1000": between(*seconds),
    }
    return ModelFigures(
        about, figures | more, {"bits": "it bounds nothing"}, [], {"of all": {"real": DRAWS, "drawn": DRAWS}}
    )


def test_one_model_leads_where_its_interval_lies_apart() -> None:
    rows = {"a": model((60, 70), (5, 6)), "b": model((71, 90), (1, 2), minutes=14.0)}
    section, _ = comparison_sections(rows, {})
    nearest, obedient, cheapest = section.figures["sentences"]
    assert nearest == (
        "Nearest to real patches: a, Fréchet distance 65.0 [60.0, 70.0]; real patches of other patients lie at 30.0."
    )
    assert "no control ratio" in obedient
    assert cheapest == (
        "Cheapest to draw from: b, seconds per 1,000 draws 1.500 [1.000, 2.000]; "
        "trained for the fewest minutes: b, 14.0."
    )
    assert section.figures["models"]["b"]["places"] == {"frechet": (2, 2), "seconds_per_1000": (1, 1)}


def test_models_whose_intervals_overlap_are_named_together() -> None:
    rows = {"a": model((60, 72), (5, 6)), "b": model((58, 90), (1, 2)), "c": model((95, 99), (3, 4))}
    section, _ = comparison_sections(rows, {})
    assert section.figures["sentences"][0].startswith(
        "Nearest to real patches: a or b, which cannot be told apart, "
    )
    (places,) = (table for table in section.tables if table.title.startswith("Places"))
    assert places.header == ["", "seconds per 1,000 draws", "Fréchet"]
    assert places.rows == [("a", "3", "1 to 2"), ("b", "1", "1 to 2"), ("c", "2", "3")]


def test_a_model_that_is_no_better_than_a_mean_patch_is_named() -> None:
    rows = {"a": model((60, 70), (5, 6)), "b": model((199, 220), (1, 2))}
    section, _ = comparison_sections(rows, {})
    assert section.figures["sentences"][0].endswith(
        "at 30.0. No nearer than one mean patch, again and again: b."
    )


def test_obedience_is_the_mean_over_conditions_that_all_models_have() -> None:
    both = {"view": between(0.8, 1.0), "cancer": between(0.2, 0.4)}
    rows = {
        "a": model((1, 2), (1, 2), control=both | {"density": between(2, 3)}),
        "b": model((1, 2), (1, 2), control=both | {"density": None, "view": between(0.1, 0.3)}),
        "c": model((1, 2), (1, 2)),
    }
    section, _ = comparison_sections(rows, {})
    assert section.figures["sentences"][1] == "Most obedient: a, mean control ratio 0.600 [0.500, 0.700]."
    assert section.figures["models"]["b"]["places"]["control_mean"] == (2, 2)
    assert "control_mean" not in section.figures["models"]["c"]["places"]


def test_models_of_two_sizes_are_not_compared() -> None:
    rows = {"a": model((60, 70), (5, 6)), "b": model((10, 20), (1, 2), resolution=32)}
    section, _ = comparison_sections(rows, {})
    assert "at 64 x 64: a, " in section.figures["sentences"][0]
    assert "at 32 x 32: b, " in section.figures["sentences"][0]
    assert not [table for table in section.tables if table.title.startswith("Places")]
    assert any("different sizes" in sentence for sentence in section.attention)


def test_equal_reasons_of_dashes_stand_once() -> None:
    section, _ = comparison_sections(
        {"a": model((1, 2), (1, 2)), "b": model((1, 2), (1, 2))}, {"c": "it is gone"}
    )
    assert section.tables[-1].rows == [("a, b", "bits per number, at most", "it bounds nothing")]
    assert section.attention == ["c could not be judged: it is gone"]


def test_pictures_of_a_kept_file_put_nothing_into_the_page() -> None:
    spoilt = model((1, 2), (1, 2))
    spoilt.galleries["of all"]["drawn"] = '"><script>'
    _, galleries = comparison_sections({"a": spoilt}, {})
    ((title, pictures),) = galleries.pictures
    assert title == "of all" and [one.caption for one in pictures] == ["of all: real", "of all: a"]
    assert "<" not in pictures[1].uri and '"' not in pictures[1].uri
