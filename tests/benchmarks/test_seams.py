"""What the benchmark of seams says, and that it runs from training to JSON."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import generative, seams

from tests.shards.conftest import make_shard_set

KINDS = ("reconstructed", "drawn", "drawn_other_noise")


def runs(by: float, *of_seeds: float) -> dict[str, list[dict[str, Any]]]:
    """Returns errors of 40 pairs that differ by so much, and by so much more for each seed."""
    noise = np.random.default_rng(0)
    without = [dict.fromkeys(KINDS, 10 + noise.normal(size=40)) | {"error": 3.0} for _ in of_seeds]
    changed = [
        {kind: run[kind] + by + more + 0.1 * noise.normal(size=40) for kind in KINDS} | {"error": 3.0}
        for run, more in zip(without, of_seeds, strict=True)
    ]
    return {"with": changed, "without": without}


@pytest.mark.parametrize(
    ("by", "of_seeds", "verdict"),
    [
        (-1.0, (0.1, -0.1), "the term lowers it"),
        (1.0, (0.1, -0.1), "the term raises it"),
        (0.0, (0.0, 0.0), "no difference shown"),
        (-1.0, (2.0, -2.0), "no difference shown"),
    ],
)
def test_a_difference_is_shown_where_interval_and_all_seeds_agree(
    by: float, of_seeds: tuple[float, ...], verdict: str
) -> None:
    found = seams.compared(runs(by, *of_seeds), np.arange(40) // 4)
    assert {found[kind]["verdict"] for kind in KINDS} == {verdict}
    difference = found["drawn"]["difference"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert difference["value"] == pytest.approx(by + np.mean(of_seeds), abs=0.1)


def here(module: str, *arguments: object) -> None:
    """Runs a command in this process, as torch takes long to load."""
    with pytest.raises(SystemExit) as left:
        import_module(f"nlbs.{module}.cli").main(list(map(str, arguments)))
    assert not left.value.code


def test_it_runs_from_training_to_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generative, "nlbs", here)
    columns = {
        "x": [0, 8] * 8,
        "y": [0] * 16,
        "image": [f"{n // 2:016x}" for n in range(16)],
        "split": ["train"] * 8 + ["test"] * 8,
    }
    make_shard_set(tmp_path / "set", patches=16, resolution=16, columns=columns)
    seams.main(
        ["--quick", "--shards", str(tmp_path / "set"), "--patches", "8", "--seeds", "0", "--out", str(tmp_path / "s")]
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["pairs"] == 4
    assert found["drawn"]["with"] > 0
