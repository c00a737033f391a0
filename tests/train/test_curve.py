from pathlib import Path

import numpy as np
from PIL import Image

from nlbs.train.curve import loss_figure
from tests.train.test_loop import train


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


def test_the_end_of_a_run_writes_its_curve_and_a_pause_does_not(tmp_path: Path) -> None:
    train(tmp_path / "late", training={"epochs": 1, "max_minutes": 1e-9})
    assert not (tmp_path / "late" / "curve.png").exists()
    train(tmp_path / "whole", training={"epochs": 2})
    with Image.open(tmp_path / "whole" / "curve.png") as image:
        assert image.size == (1200, 360)
        assert len(np.unique(np.asarray(image.convert("L")))) > 10
