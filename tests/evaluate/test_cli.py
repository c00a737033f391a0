"""The command from end to end, on a model that learnt nothing and patches of noise.

Also covers: evaluate/evaluation.py, evaluate/sections/anomaly.py, evaluate/sections/latents.py,
evaluate/sections/reconstruction.py.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate.cli import main
from nlbs.models.checkpoint import save_checkpoint
from tests.cvae.conftest import tiny
from tests.evaluate.test_report import Balanced
from tests.shards.conftest import make_shard_set

PATCHES = 96
Call = Callable[..., int]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and a shard set of 12 patients with 8 patches of 32 x 32 each, half of them to learn from."""
    folder = tmp_path_factory.mktemp("evaluate")
    turn = ("train", "train", "val", "test")
    columns = {
        "split": [turn[row // 8 % 4] for row in range(PATCHES)],
        "cancer": [row // 4 % 2 for row in range(PATCHES)],
    }
    make_shard_set(folder / "set", PATCHES, resolution=32, columns=columns)
    torch.manual_seed(0)
    training = {"dataset_id": "another", "fit": "downsample", "where": "cancer == 0", "step": 0} | {
        "conditions": {"cancer": [-1, 0]}
    }
    save_checkpoint(folder / "best_model.safetensors", ConditionalVAE(tiny(), 32), training)
    return folder / "best_model.safetensors", folder / "set"


@pytest.fixture
def call(made: tuple[Path, Path]) -> Call:
    def run(*arguments: object, first: tuple[str, ...] = ()) -> int:
        given = [*first, "--checkpoint", made[0], "--shards", made[1], "--device", "cpu", *arguments]
        with pytest.raises(SystemExit) as left:
            main([str(one) for one in given])
        return int(left.value.code or 0)

    return run


QUICK = ("--extractor", "random-convolutions", "--where", "cancer is not null",
         "--only", "latents,galleries,reconstruction,realism,memorisation")  # fmt: skip


def test_it_writes_a_page_and_its_figures(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--out", tmp_path / "out", *QUICK) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(found["sections"]) == sorted(found["sections"])
    assert found["made"]["held-out patches"] == "24 patches of 3 patients"
    assert found["made"]["training patches"] == "48 patches of 6 patients"
    assert any("another shard set" in sentence for sentence in found["attention"])
    assert any("no training patch with cancer yes: what" in sentence for sentence in found["attention"])
    realism = found["sections"]["realism"]
    assert realism["extractor"].startswith("random-convolutions-0")
    # Noise of other patients is the same noise; a model that learnt nothing is far from it.
    frechet = realism["frechet"]
    assert frechet["floor"] < frechet["generated"] / 10
    assert frechet["floor"] < frechet["point_mass"] / 10
    assert abs(realism["sharpness"]["floor"]["top_octave_ratio"]["value"] - 1) < 0.05
    dots = found["sections"]["reconstruction"]["dots"]["planted"]
    assert 0 < dots["dots"] <= 3 * 24  # noise has air in it, which leaves little room
    assert found["sections"]["memorisation"]["copies"]["verdict"] == "not proven"
    assert found["sections"]["latents"]["active_units"][0]["total"] == 4
    page = (tmp_path / "out" / "report.html").read_text()
    assert Balanced(page).open == []
    assert "not proven" in page
    assert "Report" in capsys.readouterr().out


def test_an_earlier_report_stays_unless_it_may_be_replaced(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_text("mine")
    assert call("--out", tmp_path, *QUICK) == 1
    assert "pass --overwrite" in capsys.readouterr().err
    assert (tmp_path / "report.json").read_text() == "mine"
    assert call("--out", tmp_path, *QUICK[:4], "--overwrite", "--only", "latents") == 0


def test_the_training_split_is_refused(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--out", tmp_path / "out", "--split", "train", *QUICK) == 1
    assert "--allow-train" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_call_is_a_usage_error(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--out", tmp_path, "--only", "realism,beauty") == 2
    assert "there is no section 'beauty'" in capsys.readouterr().err
    assert call() == 2
    assert "Missing option '--out'" in capsys.readouterr().err


def test_a_model_is_judged_on_the_patches_that_it_was_made_for(call: Call, tmp_path: Path) -> None:
    assert call("--out", tmp_path, "--only", "latents", "--extractor", "random-convolutions") == 0
    made = json.loads((tmp_path / "report.json").read_text())["made"]
    assert made["filter"] == "cancer == 0"
    assert made["held-out patches"] == "12 patches of 3 patients"


def test_anomalies_are_scored_and_drawn(call: Call, tmp_path: Path) -> None:
    for name in ("heat-map-07.png", "heat-map-of-mine.png", "anomaly.json"):
        (tmp_path / name).touch()
    assert call("--out", tmp_path, "--heat-maps", "2", "--overwrite", first=("anomaly",)) == 0
    found = json.loads((tmp_path / "anomaly.json").read_text())
    scores = found["sections"]["anomaly"]
    assert scores["images"] == {"healthy": 3, "abnormal": 3}
    assert scores["patches"] == {"healthy": 12, "abnormal": 12}
    assert set(scores["auroc"]) == {"reconstruction_error", "kl", "negative_elbo"}
    assert not any(
        "learnt" in sentence for sentence in found["attention"]
    )  # its filter is that of the healthy
    pictures = sorted(tmp_path.glob("heat-map-*.png"))
    assert [one.name for one in pictures] == ["heat-map-01.png", "heat-map-02.png", "heat-map-of-mine.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.width > 3 * 340
    assert Balanced((tmp_path / "anomaly.html").read_text()).open == []


def test_filters_that_overlap_are_refused(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--out", tmp_path, "--healthy", "cancer in [0, 1]", first=("anomaly",)) == 1
    assert "12 patches are healthy by" in capsys.readouterr().err
