"""The command on models of other conditions than those of NLBS: kept columns, labels, numbers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate import study
from nlbs.evaluate.cli import main
from nlbs.evaluate.measures.classifier import Recipe
from nlbs.evaluate.measures.targets import targets_of
from nlbs.models import registry
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.contract import GenerativeModel, ImageSpec
from nlbs.shards import open_shards
from tests.evaluate.studies import SMALL
from tests.evaluate.test_report import Balanced
from tests.models.toy import FAMILY, Toy, ToyConfig
from tests.shards.conftest import make_shard_set

PATCHES, EDGE = 96, 32
ASKED = ("view", "density", "findings", "position")
FINDINGS = ("Mass", "No Finding", "Calcification|Mass", None)
PLACES = ["findings: Calcification", "findings: Mass", "position: across", "position: down"]


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    before = dict(registry._MODULES)
    registry.register(FAMILY.name, "tests.models.toy")
    yield
    registry._MODULES.clear()
    registry._MODULES.update(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 patients with 8 patches each in two images, and kept columns."""
    folder = tmp_path_factory.mktemp("other") / "set"
    turn = ("train", "train", "val", "test")
    columns = {
        "split": [turn[row // 8 % 4] for row in range(PATCHES)],
        "density": ["ABCD"[row % 4] for row in range(PATCHES)],
        "findings": [FINDINGS[(row // 4 + row // 32) % 4] for row in range(PATCHES)],
    }
    make_shard_set(folder, PATCHES, resolution=EDGE, columns=columns)
    return folder


def judged(model: GenerativeModel, shards: Path, out: Path, *arguments: object) -> dict[str, Any]:
    """Gives what the command writes of a model; a report or what it finds abnormal."""
    training = {"dataset_id": "another", "fit": "downsample", "where": None, "step": 0}
    save_checkpoint(out / "best_model.safetensors", model, training)
    given = (
        *arguments,
        "--checkpoint",
        out / "best_model.safetensors",
        "--shards",
        shards,
        "--device",
        "cpu",
    )
    with pytest.raises(SystemExit) as left:
        main([str(one) for one in (*given, "--out", out)])
    assert int(left.value.code or 0) == 0
    (page,) = out.glob("*.html")
    assert Balanced(page.read_text()).open == []
    found: dict[str, Any] = json.loads(page.with_suffix(".json").read_text())
    return found


def test_a_family_of_a_few_lines_is_judged_by_its_own_conditions(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study.Recipe, "of", lambda patches: Recipe(steps=3, batch_size=16))
    with open_shards(shards) as opened:
        schema = opened.schema(ASKED)
    torch.manual_seed(0)
    toy = Toy(ToyConfig(), ImageSpec(1, EDGE), schema)
    found = judged(toy, shards, tmp_path, "--extractor", "random-convolutions")
    names = [target.name for target in targets_of(schema)]
    assert names == ["view", "density", *PLACES]
    sections = found["sections"]
    assert sorted(sections["control"]) == sorted(sections["utility"]) == sorted(names)
    assert sections["control"]["density"]["flip"]["pairs"] == 24
    # All patches of this set lie in one column of their image.
    assert "the same value" in sections["control"]["position: across"]["not_measurable"]
    assert sections["control"]["position: down"]["ceiling_auc"] is not None
    assert sections["galleries"]["groups"] == 2 + 4 + 3 + 4
    for name in ("latents", "reconstruction"):
        assert "a model of the family toy does not" in sections[name]["skipped"]
    assert any(sentence.startswith("There is no sampling gap") for sentence in found["attention"])


def test_abnormal_images_are_those_with_a_finding(shards: Path, tmp_path: Path) -> None:
    with open_shards(shards) as opened:
        schema = opened.schema(ASKED)
    torch.manual_seed(0)
    found = judged(ConditionalVAE(SMALL, EDGE, schema=schema), shards, tmp_path, "anomaly", "--heat-maps", 0)
    scores = found["sections"]["anomaly"]
    assert scores["healthy"] == "findings in ['No Finding']"
    assert scores["abnormal"] == "findings not in ['No Finding']"
    # Of the six images of three patients one has no finding, three have some, and of two nothing is known.
    assert scores["images"] == {"healthy": 1, "abnormal": 3}
    assert scores["patches"] == {"healthy": 4, "abnormal": 12}
    page = (tmp_path / "anomaly.html").read_text()
    assert "The model is told the view, density and position of each patch and that nothing was found" in page
