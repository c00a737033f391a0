"""The benchmark of the zoo: its presets exist, its plan is that of the minutes, its figures are those of the report."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import zoo
from benchmarks.zoo import ANOMALY, PRESETS, changes_of, has_flow, plan, row

from nlbs.errors import ConfigError
from nlbs.train.config import resolved_config


@pytest.mark.parametrize("preset", [*PRESETS, *ANOMALY])
def test_each_preset_is_one_of_the_products_and_goes_at_its_size(preset: str) -> None:
    assert resolved_config(preset, None, changes_of(preset)).data.resolution == 64


def test_what_is_made_for_256_x_256_goes_at_that_size() -> None:
    assert resolved_config("latent-diffusion", None, changes_of("latent-diffusion")).data.resolution == 256


def test_a_preset_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no preset"):
        has_flow("no-such-preset")


def test_half_of_the_minutes_are_for_the_flow_where_there_is_one() -> None:
    assert has_flow("nlbs-small")
    assert plan({"model": 100.0}, 20, 1000) == {"epochs": 120}
    assert plan({"model": 100.0, "flow": 150.0}, 20, 1000) == {"epochs": 60, "latents": 90_000}
    assert plan({"model": 1.0}, 1, 1000) == {"epochs": 1}


@pytest.mark.parametrize(
    ("preset", "todo", "expected"),
    [
        ("nlbs-small", {"epochs": 3, "latents": 500}, ["--flow-patches", 500]),
        ("nlbs-small", {"epochs": 3}, ["--flow-patches", 0]),  # anomaly scores are of the model alone
        ("vindr-vae-small", {"epochs": 3}, []),
    ],
)
def test_a_flow_is_fitted_where_it_was_planned_and_else_not(
    preset: str, todo: dict[str, int], expected: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(zoo, "nlbs", lambda *words: told.extend(words))
    zoo.train(preset, "shards", todo, tmp_path / "run", "cpu")
    assert told[told.index("--epochs") + 1] == 3
    at = told.index("--flow-patches") if "--flow-patches" in told else len(told)
    assert told[at : at + 2] == expected


def _realism() -> dict[str, Any]:
    sharp = {"exponent": {"value": 3.0}, "real_exponent": {"value": 3.2}, "top_octave_ratio": {"value": 0.9}}
    return {
        "frechet": {"floor": 2.0, "generated": 12.0, "point_mass": 48.0},
        "frechet_over_point_mass": 0.25,
        "frechet_over_floor": 6.0,
        "manifold": {
            "floor": {"precision": 0.8, "recall": 0.7, "coverage": 0.9},
            "generated": {"precision": 0.5, "recall": 0.4, "coverage": 0.3},
        },
        "sharpness": {"generated": sharp, "floor": sharp},
    }


def test_the_figures_are_those_of_the_report() -> None:
    found = row({"realism": _realism()})
    assert found["frechet"] == {"floor": 2.0, "generated": 12.0, "point_mass": 48.0}
    assert (found["over_point_mass"], found["over_floor"]) == (0.25, 6.0)
    assert [found[name] for name in ("precision", "recall", "coverage")] == [0.5, 0.4, 0.3]
    assert found["recall_of_floor"] == 0.7
    assert found["exponent_minus_real"] == -0.2
    assert found["top_octave_of_reconstructions"] is None
    assert "control" not in found
    assert "dots" not in found


def test_what_of_planted_dots_is_kept_stands_beside_chance() -> None:
    planted = {"recall": {"value": 0.98765, "low": 0.9, "high": 1.0}, "chance": 0.5}
    sections = {"realism": _realism(), "reconstruction": {"dots": {"planted": planted}}}
    assert row(sections)["dots"] == {"kept": 0.988, "by_chance": 0.5}


def test_the_seconds_of_draws_are_those_of_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"run": {"figures": {"seconds_per_1000": {"value": 12.3456}}}}

    def compared(*words: Any) -> None:
        out = words[words.index("--out") + 1]
        out.mkdir()
        sections = {"sections": {"comparison": {"models": models}}}
        (out / "compare.json").write_text(json.dumps(sections), encoding="utf-8")

    monkeypatch.setattr(zoo, "nlbs", compared)
    assert zoo.seconds_of_draws(tmp_path / "run", "shards", "cpu") == 12.346
