from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nlbs.manifests.schema import NLBS
from nlbs.models.contract import Doubts
from nlbs.train.pictures import describe, epoch_rows, loss_figure, sample_page, write_curve
from nlbs.train.setup import build
from tests.train.conftest import tiny_config
from tests.train.test_loop import train


def codes(*rows: tuple[int, int, int, int, int]) -> dict[str, torch.Tensor]:
    return dict(zip(NLBS.names, torch.tensor(rows).unbind(dim=1), strict=True))


def test_conditions_in_words_name_what_is_unknown() -> None:
    described = describe(codes((0, 0, 2, 1, 0), (1, 1, 3, 0, 1), (1, 0, 0, 0, 0), (-1, -1, -1, -1, -1)), NLBS)
    assert described == [
        "CC L 56-65\ncancer",
        "MLO R >65\nfalse positive",
        "MLO L <=45\nnormal",
        "view? side? age?\ncancer?, false positive?",
    ]


def test_a_page_leaves_model_and_random_state_as_they_were() -> None:
    model, _ = build(tiny_config(), torch.device("cpu"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    pages = [
        sample_page(model, torch.zeros(2, 1, 16, 16), codes((0,) * 5, (1,) * 5), "title") for _ in range(2)
    ]
    np.testing.assert_array_equal(*pages)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_page_has_no_draws_of_a_model_that_a_stage_draws_from(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = build(tiny_config(), torch.device("cpu"))
    given = (torch.zeros(2, 1, 16, 16), codes((0,) * 5, (1,) * 5), "title")
    whole = sample_page(model, *given)
    monkeypatch.setattr(type(model), "doubts", Doubts(own_draws="not what it is for"))
    assert sample_page(model, *given).shape[0] < 0.8 * whole.shape[0]


def test_each_term_has_a_panel_and_each_split_a_line_from_epoch_one() -> None:
    rows = [
        {
            "epoch": epoch,
            "train_total": loss,
            "train_reconstruction": 1.0,
            "train_kl": None,
            "val_total": 2 * loss,
        }
        for epoch, loss in enumerate([3.0, 2.0, 1.5])
    ]
    total, reconstruction, kl = loss_figure(rows).axes
    assert [line.get_label() for line in total.lines] == ["training", "validation"]
    assert np.array_equal(total.lines[0].get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    assert np.array_equal(total.lines[1].get_ydata(), [6, 4, 3])
    assert len(reconstruction.lines) == 1
    assert np.isnan(kl.lines[0].get_ydata()).all()
    assert not loss_figure([]).axes[0].lines


def test_a_run_draws_its_curve_as_it_saves_once_it_has_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def draw(path: Path, metrics: Path) -> None:  # which the other tests leave out
        shown.append(len(epoch_rows(metrics)))
        write_curve(path, metrics)

    monkeypatch.setattr("nlbs.train.loop.write_curve", draw)
    monkeypatch.setattr("nlbs.train.loop.SAVE_EVERY_S", 0.0)
    train(tmp_path / "late", training={"epochs": 1, "max_minutes": 1e-9})
    assert not (tmp_path / "late" / "curve.png").exists()
    shown.clear()
    train(tmp_path / "whole", training={"epochs": 2})
    assert shown == [1, 2]
    with Image.open(tmp_path / "whole" / "curve.png") as image:
        assert image.size == (1200, 360)
        assert len(np.unique(np.asarray(image.convert("L")))) > 10
