"""The benchmark of precisions: the same presets in both, their costs by seed, and speeds by what runs wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import precision
from benchmarks.variants import Bench, Variant

from tests.benchmarks.conftest import quick_call

_PRESET = "vindr-vae-small"


def test_a_preset_is_trained_in_both_precisions_and_compared(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.train.loop.write_curve", lambda path, metrics: None)
    precision.main(quick_call(shards, "--only", _PRESET))
    found = json.loads(capsys.readouterr().out)[_PRESET]
    differences = [
        half - full for full, half in zip(found["float32"], found["frechet"]["seeds"], strict=True)
    ]
    assert found["cost"]["seeds"] == pytest.approx(differences)
    assert differences != [0.0, 0.0]
    rates = {}
    for name in ("float32", "bfloat16"):
        folders = [shards.parent / "runs" / f"{_PRESET}-precision={name}" / seed for seed in ("0", "1")]
        assert f"precision: {name}" in (folders[1] / "config.yaml").read_text(encoding="utf-8")
        lines = [
            line for folder in folders for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()
        ]
        rows = [row for row in map(json.loads, lines) if row["kind"] == "speed"]
        rates[name] = float(np.median([row["patches_per_s"] for row in rows]))
    assert found["times_as_fast"] == pytest.approx(rates["bfloat16"] / rates["float32"])


def test_the_speed_is_the_median_over_all_epochs_of_all_seeds(tmp_path: Path) -> None:
    bench = Bench(None, tmp_path, 32, 16, None, None, quick=True)  # type: ignore[arg-type]
    for seed, rates in enumerate([(10.0, 20.0), (30.0, 90.0, 40.0)]):
        rows = [{"kind": "epoch"}, *({"kind": "speed", "patches_per_s": rate} for rate in rates)]
        folder = bench.run_folder(Variant(_PRESET), seed)
        folder.path.mkdir(parents=True)
        folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert precision.patches_per_second(bench, Variant(_PRESET), seeds=2) == 30.0
