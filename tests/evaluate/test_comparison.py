"""Models side by side through the real command: two families that learnt nothing, and patches of noise.

Also covers: evaluate/figures.py.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate import comparison, study
from nlbs.evaluate.cli import main
from nlbs.evaluate.comparison import cost_of
from nlbs.evaluate.measures.classifier import Recipe
from nlbs.manifests.schema import NLBS
from nlbs.models import registry
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.contract import GenerativeModel
from nlbs.models.family import ImageSpec
from tests.cvae.conftest import tiny
from tests.evaluate.test_report import Balanced
from tests.models.toy import FAMILY, Toy, ToyConfig
from tests.shards.conftest import make_shard_set

PATCHES, EDGE = 96, 32
STEPS = (  # two epochs of 5 and 4 steps of 8 patches, the first resumed
    '{"kind": "speed", "step": 3, "epoch": 0, "patches_per_s": 1.0, "waiting": 0.0}\n'
    '{"kind": "speed", "step": 5, "epoch": 0, "patches_per_s": 2.0, "waiting": 0.0}\n'
    '{"kind": "epoch", "step": 5, "epoch": 0, "train_total": 1.0}\n'
    '{"kind": "speed", "step": 9, "epoch": 1, "patches_per_s": 4.0, "waiting": 0.0}\n'
    '{"kind": "stage", "step": 9, "stage": "flow", "first": 0, "seconds": 500.0}\n'
    '{"kind": "stage", "step": 9, "stage": "flow", "first": 0, "seconds": 60.0}\n'  # another fit
    '{"kind": "stage", "step": 9, "stage": "flow", "first": 7, "seconds": 30.0}\n'  # its rest
    '{"kind": "speed", "st'
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(study.Recipe, "of", lambda patches: Recipe(steps=3, batch_size=16))
    before = dict(registry._MODULES)
    registry.register(FAMILY.name, "tests.models.toy")
    yield
    registry._MODULES.clear()
    registry._MODULES.update(before)


def save(model: GenerativeModel, run: Path) -> None:
    training = {"dataset_id": "another", "fit": "downsample", "where": None, "step": 9}
    save_checkpoint(run / "best_model.safetensors", model, training)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two families, and a shard set of 12 patients with 8 patches each."""
    folder = tmp_path_factory.mktemp("compare")
    turn = ("train", "test")
    columns = {
        "split": [turn[row // 8 % 2] for row in range(PATCHES)],
        "cancer": [row // 4 % 2 for row in range(PATCHES)],
    }
    make_shard_set(folder / "set", PATCHES, resolution=EDGE, columns=columns)
    torch.manual_seed(0)
    save(ConditionalVAE(tiny(), EDGE), folder / "cvae")
    save(Toy(ToyConfig(), ImageSpec(1, EDGE), NLBS), folder / "toy")
    (folder / "toy" / "config.yaml").write_text("data: {batch_size: 8}\n")
    (folder / "toy" / "metrics.jsonl").write_text(STEPS)
    return folder


def test_the_minutes_of_a_run_are_those_of_its_epochs_and_of_the_stages_that_are_drawn_with(
    made: Path,
) -> None:
    checkpoint = made / "toy" / "best_model.safetensors"
    epochs = (40 / 2 + 32 / 4) / 60
    assert cost_of(checkpoint, [])[0]["minutes"] == pytest.approx(epochs)
    flow = checkpoint.with_name("best_model.flow.safetensors")
    figures, lacks = cost_of(checkpoint, [flow])
    assert figures["minutes of flow"] == pytest.approx(1.5)
    assert figures["minutes"] == pytest.approx(epochs + 1.5)
    assert lacks == {}


def call(made: Path, out: Path, *arguments: object, runs: tuple[str, ...] = ("cvae", "toy")) -> int:
    given = [
        *(made / run for run in runs),
        "--shards",
        made / "set",
        "--out",
        out,
        "--device",
        "cpu",
        *arguments,
    ]
    with pytest.raises(SystemExit) as left:
        main(["compare", *map(str, given), "--extractor", "random-convolutions"])
    return int(left.value.code or 0)


def compared(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "compare.json").read_text())["sections"]["comparison"]
    assert Balanced((out / "compare.html").read_text()).open == []
    return found


def test_models_of_two_families_stand_side_by_side(made: Path, tmp_path: Path) -> None:
    assert call(made, tmp_path) == 0
    found = compared(tmp_path)
    assert list(found["models"]) == ["cvae", "toy"]
    cvae, toy = (found["models"][name] for name in ("cvae", "toy"))
    for row in (cvae, toy):
        assert set(row["figures"]) >= {"frechet", "frechet_floor", "kernel", "recall", "control", "copies"}
        # Noise of other patients is the same noise, and untrained models are far from it.
        frechet = row["figures"]["frechet"]
        assert row["figures"]["frechet_floor"] * 10 < frechet["low"] < frechet["value"] < frechet["high"]
        assert frechet["groups"] == 6
        assert row["figures"]["seconds_per_1000"]["value"] > 0
    assert toy["figures"]["parameters"] == Toy(ToyConfig(), ImageSpec(1, EDGE), NLBS).num_parameters
    assert toy["figures"]["patches"] == 72
    assert toy["figures"]["minutes"] == pytest.approx((40 / 2 + 32 / 4) / 60)
    assert "config.yaml" in cvae["lacks"]["minutes"]
    for figure in ("psnr_db", "bits", "auroc"):
        assert "a model of the family toy does not" in toy["lacks"][figure]
        assert cvae["figures"][figure]["value"] is not None
    assert cvae["figures"]["healthy"] == "cancer == 0"
    assert len(found["sentences"]) == 3 and "fewest minutes: toy" in found["sentences"][2]
    page = (tmp_path / "compare.html").read_text()
    assert "cvae, toy: Memorisation is not proven either way: the copy audit" in page
    reason = "<td>toy</td><td>PSNR, dB, SSIM</td><td>a model of the family toy does not rebuild images</td>"
    assert reason in page
    assert page.count("view CC: ") == 2 * 3  # alt and caption of real patches, and of draws of each model


def test_what_was_measured_is_not_measured_again(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("--only", "reconstruction,galleries", "--num", 16)
    assert call(made, tmp_path, *few, runs=("cvae",)) == 0
    first = compared(tmp_path)["models"]["cvae"]
    drawn: list[str] = []
    before = comparison.open_model
    monkeypatch.setattr(
        comparison, "open_model", lambda run, device: drawn.append(run.parent.name) or before(run, device)
    )
    assert call(made, tmp_path, *few) == 0
    assert drawn == ["toy"]
    again = compared(tmp_path)["models"]
    assert again["cvae"]["figures"] == first["figures"]
    assert "not asked for (--only)" in again["toy"]["lacks"]["control"]
    assert call(made, tmp_path, *few, "--seed", 1) == 0
    assert drawn == ["toy", "cvae", "toy"]
    assert call(made, tmp_path, *few, "--overwrite", runs=("toy",)) == 0
    assert drawn == ["toy", "cvae", "toy", "toy"]
    # Other weights under the same name are another model.
    other = made / "trained-on" / "toy"
    shutil.copytree(made / "toy", other)
    torch.manual_seed(1)
    save(Toy(ToyConfig(), ImageSpec(1, EDGE), NLBS), other)
    assert call(made, tmp_path, *few, runs=("cvae", "trained-on/toy")) == 0
    assert drawn[4:] == ["toy"]


def test_a_model_that_fails_costs_its_row(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / "empty").mkdir(exist_ok=True)
    torch.manual_seed(0)
    save(Toy(ToyConfig(), ImageSpec(3, EDGE), NLBS), made / "colour")
    few = ("--only", "reconstruction", "--num", 16)
    assert call(made, tmp_path, *few, runs=("empty", "colour", "toy")) == 0
    assert "empty is left out: " in capsys.readouterr().out
    found = compared(tmp_path)
    assert list(found["models"]) == ["toy"]
    assert "holds no best_model.safetensors" in found["failed"]["empty"]
    assert "the model images of 3" in found["failed"]["colour"]
    assert "could not be judged" in (tmp_path / "compare.html").read_text()
    assert call(made, tmp_path / "none", *few, runs=("empty",)) == 1
    assert "no model could be judged" in capsys.readouterr().err


def test_models_of_other_sizes_are_ranked_apart(made: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(Toy(ToyConfig(), ImageSpec(1, 28), NLBS), made / "smaller")
    assert call(made, tmp_path, "--only", "realism", "--num", 16, runs=("toy", "smaller")) == 0
    found = compared(tmp_path)
    assert (
        found["models"]["toy"]["places"]["frechet"]
        == found["models"]["smaller"]["places"]["frechet"]
        == [1, 1]
    )
    assert "at 32 x 32: toy" in found["sentences"][0] and "at 28 x 28: smaller" in found["sentences"][0]
    assert "different sizes" in (tmp_path / "compare.html").read_text()
