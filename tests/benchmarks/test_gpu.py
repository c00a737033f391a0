"""The benchmark of a step on a GPU, on a tiny model where there is none."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks import gpu

from tests.shards.conftest import make_shard_set


def test_without_a_gpu_it_runs_on_a_tiny_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shard_set(tmp_path / "set", patches=64, resolution=32)
    out = tmp_path / "out.json"
    options = ["--device", "cpu", "--tiny", "--modes", "eager", "--seconds", "0.01", "--rounds", "1"]
    gpu.main(["--shards", str(tmp_path / "set"), *options, "--out", str(out)])
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text())
    assert set(found["measured"]) == {"guide, eager, batch 8", "guide, eager, batch 16"}
    for one in found["measured"].values():
        assert set(one["patches_per_second"]) == {"bare", "step", "resident", "streamed"}
        assert min(one["patches_per_second"].values()) > 0
        assert 0 <= one["waiting_share"] <= 1
        assert one["memory_estimate_gib"] >= 0


def test_a_machine_without_cuda_is_told_so_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        gpu.main(["--shards", str(tmp_path)])
