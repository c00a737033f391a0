"""``nlbs-generate --grid position``: a breast's patches by place, and how well neighbours agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nlbs.generate.seams import neighbours, places_of, seam_errors
from nlbs.manifests.schema import NLBS, POSITION, Schema
from nlbs.models.checkpoint import save_checkpoint
from nlbs.shards import open_shards
from nlbs.train.config import resolved_config
from nlbs.train.turns import fresh_model
from tests.generate.conftest import Generate, contents, table
from tests.shards.conftest import make_shard_set

EDGE = 16


@pytest.fixture
def positioned(tmp_path: Path) -> Path:
    """Returns a checkpoint of a tiny model that has the condition."""
    torch.manual_seed(0)
    model: dict[str, Any] = {
        "widths": (8, 8),
        "latent_dim": 6,
        "token_width": 8,
        "condition_embed_dim": 8,
        "scales": (1,),
    }
    flags = {"model": model, "data": {"resolution": EDGE}}
    path = tmp_path / "best_model.safetensors"
    save_checkpoint(path, fresh_model(resolved_config("spatial-cvae-small", None, flags)), {})
    return path


@pytest.fixture
def breasts(tmp_path: Path) -> Path:
    """Returns a set of three images of a row of two patches and one below the first, which overlap by half."""
    columns = {
        "x": [0, 8, 0] * 3,
        "y": [0, 0, 8] * 3,
        "image": [f"{n // 3:016x}" for n in range(9)],
        "split": ["train"] * 9,
    }
    make_shard_set(tmp_path / "real", patches=9, resolution=EDGE, columns=columns)
    return tmp_path / "real"


def test_each_patch_stands_in_its_place_and_the_seams_are_measured(
    generate: Generate, positioned: Path, breasts: Path, tmp_path: Path
) -> None:
    call = (
        "--checkpoint",
        positioned,
        "--grid",
        "position",
        "--like",
        breasts,
        "--num",
        2,
        "--out",
        tmp_path / "s",
    )
    done = generate(*call)
    assert done.code == 0, done.err
    rows = table(tmp_path / "s" / "samples.csv")
    assert [row["breast"] for row in rows] == ["0"] * 3 + ["1"] * 3
    # Of the box of 24 x 24 pixels around the patches, whose centres lie at 8 and 16.
    third, rest = "0.333333", "0.666667"
    assert [row["position"] for row in rows[:3]] == [f"{third},{third}", f"{rest},{third}", f"{third},{rest}"]
    seams = json.loads((tmp_path / "s" / "samples.json").read_text())["seams"]
    drawn = np.stack([np.asarray(Image.open(tmp_path / "s" / row["file"])) for row in rows[:3]])
    other = np.stack([np.asarray(Image.open(tmp_path / "s" / row["file"])) for row in rows[3:]])
    with open_shards(breasts) as shards:
        pairs = neighbours(places_of(shards.manifest).at([0, 1, 2]), EDGE)
    assert seams["drawn"] == pytest.approx(
        np.mean([seam_errors(some, some, pairs).mean() for some in (drawn, other)]), abs=1e-3
    )
    assert seams["real_neighbours"] > 50  # the pixels of the set are noise, each patch its own
    assert set(seams) == {
        "real_neighbours",
        "real_other_breasts",
        "reconstructed",
        "drawn",
        "drawn_other_noise",
    }
    assert "where neighbours overlap" in done.out
    before = contents(tmp_path / "s")
    assert generate(*call).code == 0
    assert contents(tmp_path / "s") == before


def test_a_breast_is_the_same_however_many_are_asked_for(
    generate: Generate, positioned: Path, breasts: Path, tmp_path: Path
) -> None:
    arguments = ("--checkpoint", positioned, "--grid", "position", "--like", breasts)
    assert generate(*arguments, "--num", 1, "--out", tmp_path / "a").code == 0
    assert generate(*arguments, "--num", 3, "--out", tmp_path / "b").code == 0
    few, many = (contents(tmp_path / name) for name in "ab")
    assert {name: few[name] for name in few if name.startswith("synthetic")}.items() <= many.items()


def test_what_cannot_be_drawn_by_place_is_refused(
    generate: Generate, positioned: Path, breasts: Path, tmp_path: Path
) -> None:
    out = ("--grid", "position", "--out", tmp_path / "s")
    done = generate("--like", breasts, *out)  # the five conditions alone
    assert done.code == 1
    assert "has no condition position" in done.err
    assert generate("--checkpoint", positioned, *out).code == 2
    done = generate("--checkpoint", positioned, *out, "--like", breasts, "--condition", "position=0,0")
    assert done.code == 2
    assert "says the places itself" in done.err
    assert POSITION in Schema((*NLBS, POSITION))


def test_set_without_overlap_has_no_seams(generate: Generate, positioned: Path, tmp_path: Path) -> None:
    make_shard_set(tmp_path / "real", patches=8, resolution=EDGE, columns={"split": ["train"] * 8})
    out = ("--grid", "position", "--like", tmp_path / "real", "--num", 1, "--out", tmp_path / "s")
    done = generate("--checkpoint", positioned, *out)
    assert done.code == 0, done.err
    assert "no overlap" in done.out


def test_pages_of_reconstructions_have_a_row_of_uncertainties(
    generate: Generate, positioned: Path, breasts: Path, checkpoint: Path, tmp_path: Path
) -> None:
    make_shard_set(tmp_path / "large", patches=4, resolution=32)
    heights = []
    for model, shards in ((positioned, breasts), (checkpoint, tmp_path / "large")):
        out = tmp_path / shards.name
        out = out.with_name(f"{out.name}-page")
        done = generate(
            "reconstruct", "--checkpoint", model, "--shards", shards, "--row", 0, "--row", 1, "--out", out
        )
        assert done.code == 0, done.err
        assert len(table(out / "samples.csv")) == 2
        with Image.open(out / "contact_sheet.png") as sheet:
            heights.append(sheet.height)
    assert heights[0] > heights[1]
