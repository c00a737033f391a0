import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nlbs.errors import ConfigError
from nlbs.shards import open_shards
from nlbs.train import bench
from nlbs.train.cli import main
from nlbs.train.config import TrainConfig
from nlbs.train.setup import build
from tests.conftest import some
from tests.shards.conftest import make_shard_set
from tests.train.conftest import guide_command, tiny_config

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.02)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    make_shard_set(tmp_path / "set", patches=64)
    return tmp_path / "set"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "model: {latent_dim: 4, encoder: {channels: [8, 16]}, decoder: {channels: [16, 8, 1]}}\n"
        "training: {ema_decay: 0.9, max_steps: 1, log_every_steps: 1, samples_every_steps: 1}\n"
        "data: {resolution: 16, batch_size: 8}\n"
    )
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_a_bench_names_a_bottleneck_and_writes_nothing(
    shards: Path,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    for folder in (work, scratch):
        folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert (
        run(
            *guide_command(shards, config, "runs/mine"),
            "--bench",
        )
        == 0
    )
    said = capsys.readouterr()
    assert not list(work.iterdir())
    assert not list(scratch.glob("nlbs-bench-*"))
    assert re.search(r"^[\d,]+ parameters, 16 x 16 pixels, batches of 8 at float32 on cpu", said.out)
    for part in ("loader alone", "step alone", "together, as a run does it"):
        assert re.search(rf"^{part} +[\d,.]+ +[\d.]+", said.out, re.M)
    assert re.search(r"^The (loader|step) holds up|^Loader and step share", said.out, re.M)
    assert "measuring the loader alone" in said.err


def test_a_bench_for_machines_is_one_line_of_finite_numbers(
    shards: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            *guide_command(shards, config, "runs/mine"),
            "--bench",
            "--json",
        )
        == 0
    )
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    rates = [found[part] for part in ("loader", "step", "together")]
    assert all(math.isfinite(rate) and rate > 0 for rate in some(rates))
    assert 0 <= found["waiting"] <= 1
    assert found["bottleneck"] in bench.BOTTLENECKS
    assert found["says"]


def test_json_alone_is_wrong_usage(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--shards", shards, "--json") == 2
    assert "--json goes with --bench" in capsys.readouterr().err


def test_one_of_several_processes_measures_nothing(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with open_shards(shards) as opened, pytest.raises(ConfigError, match="one process"):
        bench.measure(tiny_config(), opened, CPU)


def test_the_step_is_the_real_one_and_moves_no_weight(shards: Path, tmp_path: Path) -> None:
    config: TrainConfig = tiny_config(training={"ema_decay": 0.9})
    with open_shards(shards) as opened:
        stream = bench.open_streams(config, opened)[0]
        trainer = bench.make_trainer(bench.harmless(config), stream, CPU, tmp_path)
        trainer.take(stream.read(0, 0))
    average = trainer.trainer.step.average
    assert average is not None
    assert average.steps == 1
    fresh, _ = build(config, CPU)
    for now, before in some(zip(trainer.model.parameters(), fresh.parameters(), strict=True)):
        assert now.grad is not None
        torch.testing.assert_close(now, before, rtol=0, atol=1e-9)


#: A loader of 10,000 and a step of 1,000: the step holds up the rest.
STEP = bench.Measured(
    *(10_000, 1_000, 990, 0.001, 5),
    *(64, 32, "float32", "cpu"),
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "step"),
        ({"waiting": 0.04}, "step"),
        ({"loader": 500, "together": 490, "waiting": 0.5}, "loader"),
        ({"loader": 1_100, "together": 900, "waiting": 0.06}, "loader"),  # as quick as the step, no quicker
        ({"together": 700, "waiting": 0.2}, "processor"),  # quick alone, slow beside the step
        ({"waiting": 0.5}, "step"),  # as quick as the step alone: a GPU was at work while the host waited
        ({"together": 700}, "processor"),  # the step is slower beside the loader
    ],
)
def test_the_bottleneck_is_what_the_rest_waits_for(changes: dict[str, float], expected: str) -> None:
    assert replace(STEP, **changes).bottleneck == expected  # type: ignore[arg-type]


def test_a_bottleneck_is_a_sentence_with_its_figures() -> None:
    assert "could feed 10.0 times as many" in STEP.sentence
    slow = replace(STEP, loader=500, together=490, waiting=0.5)
    assert "could take 2.0 times as many" in slow.sentence
