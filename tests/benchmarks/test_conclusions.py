"""The benchmark of the zoo's conclusions: it trains, judges and says in a sentence what came of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from benchmarks import conclusions
from benchmarks.conclusions import EXPERIMENTS, Experiment, verdict
from benchmarks.variants import Bench, Variant, over_seeds

from nlbs.models import registry
from nlbs.shards import open_shards
from tests.benchmarks.conftest import quick_call
from tests.conftest import some

PRESETS = {preset for name in registry.names() for preset in registry.family(name).presets}


def test_the_variants_are_trained_judged_and_compared(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.train.loop.write_curve", lambda path, metrics: None)
    names = ["latent-vae", "adversary"]
    conclusions.main(quick_call(shards, "--only", *names))
    found = json.loads(capsys.readouterr().out)
    assert found["quick"]
    assert found["extractor"].startswith("random-convolutions")
    assert 0 < found["floor"] < found["point_mass"]
    for name in names:
        sides = found[name]["frechet"]
        assert list(sides) == list(EXPERIMENTS[name].variants)
        for side in some(sides.values()):
            assert len(set(side["seeds"])) == 2
            assert side["low"] < side["mean"] < side["high"]
        assert found[name]["verdict"] == verdict(EXPERIMENTS[name], sides)
    runs = sorted(path.name for path in (shards.parent / "runs").iterdir())
    # What is the preset's own is trained once for both experiments.
    sizes = [f"cxr-vae-small-latent_dim={size}" for size in (16, 512)]
    assert runs == ["cxr-vae-small", *sizes, "lsgan-small"]
    # What is trained is not trained again, and says the same.
    conclusions.main(quick_call(shards, "--only", "adversary"))
    said = capsys.readouterr()
    assert json.loads(said.out)["adversary"] == found["adversary"]
    assert said.err.count("is finished") == 4


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_variants_are_of_presets_that_are_there_or_are_refused_in_a_sentence(name: str, shards: Path) -> None:
    experiment = EXPERIMENTS[name]
    assert experiment.better is None or experiment.better in experiment.variants
    assert len({variant.folder for variant in experiment.variants.values()}) == len(experiment.variants) > 1
    with open_shards(shards) as opened:
        bench = Bench(opened, shards, 32, 16, None, None, quick=True)  # type: ignore[arg-type]
        if {variant.preset for variant in experiment.variants.values()} <= PRESETS:
            assert list(conclusions.chosen([name], bench)) == [name]
            configs = [bench.config(variant) for variant in experiment.variants.values()]
            assert len({str(config.model) + config.family for config in configs}) == len(configs)
            assert len({(config.training.epochs, config.data.batch_size) for config in configs}) == 1
            return
        with pytest.raises(
            SystemExit, match=f"the experiment {name} needs gmvae-small.*no preset 'gmvae-small'"
        ):
            conclusions.chosen([name], bench)


def test_a_preset_that_is_not_there_is_refused_before_anything_is_trained(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Experiment("it is there", {"a": Variant("absent-small"), "b": Variant("absent-small", {"k": 1})})
    monkeypatch.setitem(EXPERIMENTS, "adversary", absent)
    with pytest.raises(SystemExit, match="the experiment adversary needs absent-small: there is no preset"):
        conclusions.main(quick_call(shards, "--only", "latent-vae", "adversary"))
    assert not (shards.parent / "runs").exists()


def test_an_interval_over_seeds_is_students() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    # mean 2, deviation 1, t(0.975; 2) = 4.30265 by tables.
    assert found["mean"] == 2.0
    assert found["high"] - found["mean"] == pytest.approx(4.30265 / 3**0.5, abs=1e-4)
    assert found["mean"] - found["low"] == pytest.approx(found["high"] - found["mean"])


def side(mean: float, half: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


@pytest.mark.parametrize(
    ("better", "distances", "expected"),
    [
        (None, {"a": side(5, 2), "b": side(8, 2)}, "the intervals overlap: no difference shown, as was concluded"),
        ("a", {"a": side(5, 2), "b": side(8, 2)}, "overlap: no difference shown, where one was concluded"),
        ("a", {"a": side(5, 1), "b": side(8, 1)}, "of a lie nearer to real patches than those of b, as was concluded"),
        ("b", {"a": side(5, 1), "b": side(8, 1)}, "than those of b, against what was concluded"),
        (None, {"a": side(8, 1), "b": side(5, 1), "c": side(9, 1)}, "of b lie .* of a and c, against what was"),
    ],
)  # fmt: skip
def test_the_verdict_says_whether_intervals_lie_apart(
    better: str | None, distances: dict[str, Any], expected: str
) -> None:
    variants = {name: Variant("x") for name in distances}
    assert re.search(expected, verdict(Experiment("something", variants, better), distances))
