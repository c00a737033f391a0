"""The grain that a run ends with."""

import json
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from nlbs.cvae.model import ConditionalVAE
from nlbs.models.stages.fitted import load_stage
from nlbs.models.stages.grain_stage import GRAIN
from nlbs.train.data.stream import PatchStream
from nlbs.train.run_folder import RunFolder
from nlbs.train.stages.run import run_stages
from tests.train.conftest import MemoryShards, check_fitted_once, tiny_config
from tests.train.stages.conftest import CPU, LADDER
from tests.train.stages.test_trained import fit_of


@pytest.fixture
def folder(run: Path) -> Path:
    return run


def fit(folder: Path, interrupted: Event | None = None, patches: int = 90, **training: Any) -> Path:
    config = tiny_config(model=LADDER, grain={"patches": patches}, training=training)
    return fit_of(config, folder, interrupted)


def best_model(folder: Path) -> ConditionalVAE:
    return ConditionalVAE.load_from_checkpoint(folder / "best_model.safetensors")


def test_grain_lies_beside_the_best_model_and_is_as_strong_as_what_it_leaves_over(folder: Path) -> None:
    path = fit(folder, patches=1000, augment={"horizontal_flip": 0})
    assert path == folder / "best_model.grain.safetensors"
    model = best_model(folder)
    grain = load_stage(folder, GRAIN, model)
    stream = PatchStream(MemoryShards(), batch_size=40)  # type: ignore[arg-type]
    batch = next(iter(stream))
    pixels = batch.pixels.float() / 127.5 - 1
    rest, drawn = [], []
    with torch.no_grad():
        for seed in range(5):
            torch.manual_seed(seed)
            noise = [torch.randn(40, *shape) for shape in model.latent_shapes]
            rendered = model.render(model.infer(pixels, batch.conditions, noise), batch.conditions)
            rest.append(pixels - rendered)
            drawn.append(grain(rendered, torch.randn_like(rendered)) - rendered)
    inside = torch.cat(drawn)
    assert float(inside.std()) == pytest.approx(
        float(torch.cat(rest).std()), rel=0.25
    )  # the range cuts some off


def test_grain_that_is_there_is_not_measured_again_and_with_other_options_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = check_fitted_once(lambda: fit(folder), capsys)
    before = path.read_bytes()
    fit(folder, patches=48)
    assert (
        "the grain was fitted with other options or to other patches; it is fitted anew"
        in capsys.readouterr().out
    )
    assert path.read_bytes() != before


def test_measuring_that_is_interrupted_leaves_nothing(folder: Path) -> None:
    interrupted = Event()
    interrupted.set()
    with pytest.raises(KeyboardInterrupt):
        fit(folder, interrupted)
    assert not (folder / "best_model.grain.safetensors").exists()
    (row,) = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()[-1:])
    assert (row["kind"], row["stage"], row["first"]) == ("stage", "grain", 0)


def test_a_run_without_a_best_model_has_no_stages(tmp_path: Path) -> None:
    shards: Any = MemoryShards()
    run_stages(tiny_config(model=LADDER, grain={"patches": 16}), shards, RunFolder(tmp_path), CPU)
    assert list(tmp_path.iterdir()) == []


def test_a_run_ends_with_the_grain_of_its_configuration_alone(folder: Path) -> None:
    shards: Any = MemoryShards()
    run_stages(tiny_config(model=LADDER), shards, RunFolder(folder), CPU)
    assert not (folder / "best_model.grain.safetensors").exists()
    run_stages(tiny_config(model=LADDER, grain={"patches": 16}), shards, RunFolder(folder), CPU)
    assert (folder / "best_model.grain.safetensors").exists()
