"""Runs: their rows as they are written, and their pages of samples by name."""

import json
from pathlib import Path

import pytest

from nlbs.preprocess.view.dataset import MissingError
from nlbs.preprocess.view.runs import Runs
from tests.preprocess.view.conftest import make_run


def test_runs_are_found_in_a_folder_below_it_and_where_it_is_one_itself(tmp_path: Path) -> None:
    for name in ("a", "sweep/b", "far/too/deep"):
        make_run(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert set(Runs(tmp_path).found()) == {"a", "sweep/b"}
    assert Runs(tmp_path / "a").found() == {"a": tmp_path / "a"}
    assert Runs(None).found() == {}


def test_rows_come_as_they_are_written_and_a_half_one_waits(tmp_path: Path) -> None:
    make_run(tmp_path / "a", epochs=1)
    runs, metrics = Runs(tmp_path), tmp_path / "a" / "metrics.jsonl"
    first = runs.rows("a", "", 0)
    assert [row["kind"] for row in first["rows"]] == ["train", "epoch"]
    assert first["rows"][1] == {"kind": "epoch", "step": 10, "epoch": 0, "train_total": 0.2, "val_total": 0.3}
    line = json.dumps({"kind": "train", "step": 20, "epoch": 1, "total": 0.5})
    with metrics.open("a") as file:
        file.write(line[:20])
        file.flush()
        assert runs.rows("a", first["file"], first["start"])["rows"] == []
        file.write(line[20:] + "\n")
    then = runs.rows("a", first["file"], first["start"])
    assert [row["total"] for row in then["rows"]] == [0.5]
    assert then["start"] == metrics.stat().st_size
    assert not then["more"]


def test_a_file_that_was_written_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    make_run(tmp_path / "a", epochs=3)
    runs, metrics = Runs(tmp_path), tmp_path / "a" / "metrics.jsonl"
    before = runs.rows("a", "", 0)
    kept = "".join(metrics.read_text().splitlines(keepends=True)[:2])
    (tmp_path / "new").write_text(kept)
    (tmp_path / "new").replace(metrics)  # as a run that continues cuts it
    after = runs.rows("a", before["file"], before["start"])
    assert after["file"] != before["file"]
    assert len(after["rows"]) == 2


def test_a_long_file_comes_in_parts_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlbs.preprocess.view.runs._MOST_BYTES", 200)
    make_run(tmp_path / "a", epochs=9)
    found, file, start, more = [], "", 0, True
    while more:
        part = Runs(tmp_path).rows("a", file, start)
        found += part["rows"]
        file, start, more = part["file"], part["start"], part["more"]
    assert [row["step"] for row in found] == [10 * (n // 2 + 1) for n in range(18)]


def test_what_is_no_row_of_numbers_is_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path / "a", epochs=0)
    rows = [
        {"kind": "train", "step": 1, "epoch": 0, "loss": None, "note": "text", "flag": True, "list": [1]},
        {"kind": "train", "step": "1"},
        {"kind": 1, "step": 1},
        [1],
    ]
    lines = [*map(json.dumps, rows), "{broken", '{"kind": "train", "step": 1, "loss": NaN}', ""]
    (tmp_path / "a" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert Runs(tmp_path).rows("a", "", 0)["rows"] == [{"kind": "train", "step": 1, "epoch": 0, "loss": None}]


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "b", "/etc"])
def test_a_run_or_page_that_is_not_listed_is_not_read(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / "a")
    runs = Runs(tmp_path)
    with pytest.raises(MissingError):
        runs.rows(name, "", 0)
    with pytest.raises(MissingError):
        runs.sample("a", name)
    assert runs.sample("a", "step-00000010.png").startswith(b"\x89PNG")
