"""What a build will take, by images whose times and sizes the test knows."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from nlbs.preprocess import build
from nlbs.preprocess.cli import cli
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root import forecast as forecast_module
from nlbs.preprocess.root.forecast import Forecast
from tests.conftest import CUT


def test_a_forecast_goes_on_as_the_first_images_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0, 106.0])  # starting workers took whatever it took; then 3 s an image
    monkeypatch.setattr(forecast_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    store = ImageStore.open(tmp_path / "images.zarr", {"dtype": "uint16", "voi": "auto"})
    forecast, size = Forecast(1000, CutOptions(64, 64, container="zarr"), store), 0
    for number in range(3):
        image = f"{number:016x}"
        if number:  # the first one has failed
            store.put(image, np.full((50, 40), number, np.uint16), {})
            size += sum(path.stat().st_size for path in (store.path / image).rglob("*") if path.is_file())
        forecast.add(4 * number, store.path / image if number else None)
    assert forecast.seconds == pytest.approx(3000)
    assert forecast.nbytes == (round(size * 1000 / 3), round(12 * 64 * 64 * 2 * 1000 / 3))
    line = forecast.line(tmp_path)
    assert line.startswith("By the first 3 images: 1,000 images take about 50 min 0 s to decode")
    assert "about 4,000 patches in 32.8 MB; the disk has " in line
    monkeypatch.setattr("nlbs.local_store.LocalStore.free_bytes", lambda store, folder: 10)
    assert forecast.line(tmp_path).startswith("Warning: ")


def test_a_rehearsal_writes_nothing_and_tells_what_fails(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "meta.csv"
    lines = (phantom / "meta.csv").read_text().splitlines()
    table.write_text("\n".join([*lines[:3], lines[3].replace(".dcm", "-gone.dcm")]) + "\n")
    out = tmp_path / "out"
    words = [
        "build-shards",
        "--csv",
        table,
        "--images",
        phantom,
        "--out",
        out,
        *CUT,
        "--backend",
        "threading",
    ]
    done = CliRunner().invoke(cli, [*map(str, words), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert not out.exists()
    assert "Images      3 to decode, 0 there already" in done.output
    assert "Forecast    By the first 3 images: 3 images take about" in done.output
    assert "skipped   row 3: " in done.output and "more" not in done.output
    monkeypatch.setattr(build, "_MOST_SKIPPED", 0)
    done = CliRunner().invoke(cli, [*map(str, words), "--dry-run"])
    assert "row 3" not in done.output and done.output.endswith("            and 1 more\n")
