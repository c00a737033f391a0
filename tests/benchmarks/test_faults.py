"""The benchmark of faults: each is the mended preset but for itself, and costs what the same seed loses."""

import json
from pathlib import Path

import pytest
from benchmarks import faults
from benchmarks.faults import FAULTS, cost
from benchmarks.variants import Bench, Variant

from nlbs.shards import open_shards
from tests.benchmarks.conftest import quick_call
from tests.conftest import some


def test_a_mended_preset_and_each_of_its_faults_are_trained_and_compared(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.train.loop.write_curve", lambda path, metrics: None)
    faults.main(quick_call(shards, "--only", "lsgan-small"))
    found = json.loads(capsys.readouterr().out)
    assert found["quick"]
    assert found["augment"]
    judged = found["lsgan-small"]
    assert list(judged["faults"]) == list(FAULTS["lsgan-small"])
    for fault in some(judged["faults"].values()):
        assert fault["cost"]["mean"] == pytest.approx(fault["frechet"]["mean"] - judged["mended"]["mean"])
        assert fault["cost"]["seeds"] != [0, 0]
    assert len(list((shards.parent / "runs").iterdir())) == 1 + len(judged["faults"])


@pytest.mark.parametrize("preset", FAULTS)
def test_each_fault_is_another_configuration_than_the_mended_one(preset: str, shards: Path) -> None:
    variants = [Variant(preset), *FAULTS[preset].values()]
    assert {variant.preset for variant in variants} == {preset}
    assert len({variant.folder for variant in variants}) == len(variants)
    with open_shards(shards) as opened:
        bench = Bench(opened, shards, 32, 16, None, None, quick=True)  # type: ignore[arg-type]
        configs = [bench.config(variant) for variant in variants]
    assert len({str((config.model, config.training)) for config in configs}) == len(variants)
    assert len({(config.training.epochs, config.data.batch_size) for config in configs}) == 1


def test_a_cost_is_that_of_the_same_seed() -> None:
    found = cost([10.0, 20.0, 30.0], [11.0, 22.0, 33.0])
    assert found["cost"]["seeds"] == [1.0, 2.0, 3.0]
    # mean 2, deviation 1, t(0.975; 2) = 4.30265 by tables.
    assert found["cost"]["low"] == pytest.approx(2 - 4.30265 / 3**0.5, abs=1e-4)
    assert found["frechet"]["mean"] == 22.0
