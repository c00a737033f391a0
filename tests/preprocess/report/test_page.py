"""The report: parsed as a browser would, against what was built.

Also covers: preprocess/report/page_images.py, preprocess/report/page_patches.py.
"""

import base64
import csv
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nlbs.errors import DatasetError
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.report.page import render, write_report
from nlbs.shards import open_shards
from tests.conftest import CUT, run_command, some
from tests.shards.conftest import make_shard_set

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Reader(HTMLParser):
    """Keeps the text of each table cell by table id, all text, every attribute, and tags out of balance."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.unbalanced = "", []  # type: ignore[var-annotated]
        self.tables: dict[str, list[list[str]]] = {}
        self._table = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))
        if tag == "table":
            self._table = dict(attrs).get("id") or f"table {len(self.tables)}"
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1][0] != tag:
            self.unbalanced.append(tag)
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        names = [tag for tag, _ in self.open]
        if "style" in names:
            return
        self.text += data
        if "td" in names or "th" in names:
            self.tables[self._table][-1][-1] += data


def made(shards: Path, out: Path, **changes: int) -> tuple[Reader, str]:
    write_report(shards, out, **({"images": 4, "patches": 2, "seed": 0} | changes))
    text = out.read_text(encoding="utf-8")
    return Reader(text), text


@pytest.fixture(scope="module")
def page(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, str]:
    return made(dataset_root, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def copy(dataset_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(dataset_root, tmp_path / "shards")
    return tmp_path / "shards"


def edit(root: Path, **changes: dict[int, str]) -> None:
    """Changes cells of images.csv: column -> {row: text}; columns that it has not are added."""
    with (root / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for column, cells in changes.items():
        for number, row in enumerate(rows):
            row[column] = cells.get(number, row.get(column, ""))
    with (root / "images.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_page_is_balanced_and_asks_nobody_for_anything(page: tuple[Reader, str]) -> None:
    reader, text = page
    assert reader.unbalanced == []
    assert reader.open == []
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "url(" not in text
    assert "@import" not in text


def test_counts_are_those_of_the_manifest(page: tuple[Reader, str], dataset_root: Path) -> None:
    frame = open_shards(dataset_root).manifest.to_pandas()
    rows = {(row[0], row[1]): row[2:] for row in page[0].tables["counts"][2:]}
    splits = ["train", "val", "test", "all"]

    def expected(chosen) -> list[str]:  # type: ignore[no-untyped-def]
        found = []
        for split in splits:
            part = chosen if split == "all" else chosen[chosen["split"] == split]
            found += [f"{len(part):,}", str(part["image"].nunique()), str(part["patient"].nunique())]
        return found

    assert rows["all", ""] == expected(frame)
    assert rows["view", "CC"] == expected(frame[frame["view"] == "CC"])
    assert rows["", "unknown"] == expected(frame[frame["age_bin"].isna()])
    assert page[0].tables["statuses"][1] == ["ok", "16"]
    cross = {tuple(row[:3]): row[3] for row in page[0].tables["crosstab"][1:]}
    cancer = frame[(frame["view"] == "CC") & (frame["laterality"] == "L") & (frame["cancer"] == 0)]
    assert cross["CC", "L", "no"] == str(len(cancer))


def test_pictures_are_those_of_the_store_with_the_outline_and_as_many_as_asked(
    page: tuple[Reader, str], dataset_root: Path
) -> None:
    reader, text = page
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    ]
    outlined = [p for p in pictures if (np.asarray(p.convert("RGB")) == (255, 80, 80)).all(2).any()]
    assert len(outlined) == 4
    captions = [a["alt"] for tag, a in reader.tags if tag == "img"]
    store = ImageStore(dataset_root / "images.zarr")
    fractions = {}
    with (dataset_root / "images.csv").open() as file:
        for row in some(csv.DictReader(file)):
            fractions[row["image"]] = float(row["mask_fraction"])
            assert store.record(row["image"]) is not None
    smallest = min(fractions, key=lambda image: fractions[image])
    assert any(
        (caption or "").startswith(f"{smallest}: smallest share of foreground") for caption in captions
    )
    patches = [p for p in pictures if p.size == (64, 64)]
    assert len(patches) == len(pictures) - 4
    shards = open_shards(dataset_root)
    known = {shards.read([row])[0].tobytes() for row in range(len(shards))}
    assert all(np.asarray(p.convert("L")).tobytes() in known for p in patches)


def test_the_same_seed_gives_the_same_page_and_another_other_patches(
    page: tuple[Reader, str], dataset_root: Path, tmp_path: Path
) -> None:
    assert made(dataset_root, tmp_path / "again.html")[1] == page[1]
    assert made(dataset_root, tmp_path / "other.html", seed=1)[1] != page[1]


def test_text_from_a_table_is_escaped_and_cut_off(copy: Path, tmp_path: Path) -> None:
    hostile = "<script>alert('x')</script>"
    edit(
        copy,
        status={0: "bad_row", 1: "bad_row"},
        reason={0: hostile, 1: "y" * 1_000_000, 2: f"=cmd() {hostile}"},
        from_header={3: hostile},
        mask_flags={4: "'><img src=x>"},
        decoder={5: hostile},
    )
    reader, text = made(copy, tmp_path / "report.html")
    assert reader.unbalanced == []
    assert not [tag for tag, _ in reader.tags if tag == "script"]
    assert all((a.get("src") or "data:").startswith("data:") for _, a in reader.tags)
    assert reader.text.count(hostile) >= 4
    assert f"=cmd() {hostile}" in reader.text
    assert "y" * 1000 not in text
    assert "1,000,000 characters" in text


def test_what_was_skipped_remarked_and_filled_in_is_listed_and_the_rest_counted(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.preprocess.report.page_images.MOST_LISTED", 2)
    edit(
        copy,
        status={0: "truncated", 1: "truncated", 2: "missing_file"},
        reason={
            0: "it ends after 7 bytes",
            5: "view is CC in the table, which counts, and MLO in the DICOM header; a note",
            6: "view is CC in the table, which counts, and MLO in the DICOM header",
        },
        from_header={7: "view laterality"},
    )
    reader, _ = made(copy, tmp_path / "report.html")
    assert reader.tables["statuses"][1:] == [["ok", "13"], ["truncated", "2"], ["missing_file", "1"]]
    assert [row[2:] for row in reader.tables["skipped"][1:]] == [
        ["truncated", "it ends after 7 bytes"],
        ["truncated", ""],
    ]
    assert "and 1 row more, in images.csv" in reader.text
    cells = [row for rows in reader.tables.values() for row in rows]
    disagreement = next(row for row in cells if "DICOM header" in row[0])
    assert disagreement[1] == "2"
    assert next(row for row in cells if row[0] == "a note")[1] == "1"
    assert ["view laterality", "1"] in cells
    assert "2 disagreements of table and header" in reader.text


def test_equal_images_are_listed_and_a_leak_is_red(copy: Path, tmp_path: Path) -> None:
    with (copy / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    train = next(n for n, row in enumerate(rows) if row["split"] == "train")
    test = next(n for n, row in enumerate(rows) if row["split"] == "test")
    edit(copy, pixels_sha256={test: rows[train]["pixels_sha256"]})
    reader, _ = made(copy, tmp_path / "report.html")
    (row,) = reader.tables["equal-images"][1:]
    assert rows[train]["image"] in row[0]
    assert rows[test]["image"] in row[0]
    assert any(tag == "tr" and a.get("class") == "leak" for tag, a in reader.tags)
    assert "1 in several splits, which is a leak" in reader.text


def test_odd_images_and_masks_are_named(copy: Path, tmp_path: Path) -> None:
    with (copy / "images.csv").open() as file:
        names = [row["image"] for row in csv.DictReader(file)]
    edit(copy, qc_row_jump={3: "900.0"}, breast_median={4: "0.99"}, mask_flags={5: "ragged components"})
    reader, _ = made(copy, tmp_path / "report.html")
    cells = {row[0]: row[1] for rows in reader.tables.values() for row in rows if len(row) == 2}
    assert cells[names[3]].startswith("qc_row_jump")
    assert cells[names[4]].startswith("breast_median")
    assert cells[names[5]] == "flagged: ragged components"
    for sentence in (
        "1 image with pixels that look damaged",
        "1 image of unusual brightness",
        "1 mask of unusual",
    ):
        assert sentence in reader.text


def test_a_set_alone_a_root_without_store_and_a_root_without_set_say_what_is_left_out(
    copy: Path, tmp_path: Path
) -> None:
    make_shard_set(tmp_path / "alone" / "r16-s16")
    reader, _ = made(tmp_path / "alone", tmp_path / "alone.html")
    assert "stands without the images.csv" in reader.text
    assert "counts" in reader.tables
    shutil.rmtree(copy / "images.zarr")
    reader, _ = made(copy, tmp_path / "no-store.html")
    assert "There is no images.zarr here" in reader.text
    assert "reshard" not in reader.text
    shutil.rmtree(copy / "r64-s64")
    reader, _ = made(copy, tmp_path / "no-set.html")
    assert "There is no complete shard set here" in reader.text
    assert reader.tables["statuses"][1] == ["ok", "16"]


def test_a_broken_image_costs_its_picture_only(copy: Path, tmp_path: Path) -> None:
    with (copy / "images.csv").open() as file:
        image = next(csv.DictReader(file))["image"]
    (copy / "images.zarr" / image / "c" / "0" / "0").unlink()
    edit(copy, mask_flags={0: "ragged"})
    reader, _ = made(copy, tmp_path / "report.html")
    assert f"The picture of {image} is left out" in reader.text


def test_the_command_names_one_of_several_sets_and_its_page_the_commands_to_go_on(
    copy: Path, tmp_path: Path
) -> None:
    shutil.copytree(copy / "r64-s64", copy / "again")
    done = run_command("preprocess", "report", "--shards", copy, "--out", tmp_path / "report.html")
    assert done.returncode == 1
    assert "2 shard sets; name one of them" in done.stderr
    done = run_command(
        *(
            "preprocess",
            "report",
            "--shards",
            copy / "again",
            "--out",
            tmp_path / "report.html",
            "--images",
            1,
        )
    )
    assert done.returncode == 0, done.stderr
    text = Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert f"nlbs-train --shards {copy / 'again'} --device cuda" in text
    assert f"nlbs-preprocess reshard --shards {copy} --resolution 64 --stride 64 --min-foreground 0.1" in text
    command = [*("preprocess", "reshard", "--shards", copy, "--resolution", 64, "--stride", 64), *CUT[4:]]
    assert run_command(*map(str, command)).returncode == 0


def test_further_columns_of_a_manifest_are_shown_and_cut_off() -> None:
    extra = [{"name": "<b>density", "known": 3, "distinct": 2, "values": [("a<b", 2), ("c" * 1_000_000, 1)]}]
    totals = {"all": {"patches": 1, "images": 1, "patients": 1}}
    holds = {"splits": totals, "conditions": {}, "crosstab": [], "extra": extra, "without_patches": 0}
    made_of = dict.fromkeys(("title", "dataset_id", "store"), None)
    page = render(
        {
            "holds": holds,
            "left_out": [],
            "attention": [],
            "made": {
                **made_of,
                "title": "x",
                "parameters": [],
                "decoding": [],
                "versions": [],
                "commands": [],
            },
        }
    )
    *cells, values = Reader(page).tables["extra"][1]
    assert cells == ["<b>density", "3", "2"]
    assert values == f"a<b (2), {'c' * 500}... (1,000,000 characters) (1)"


def test_a_folder_in_the_place_of_the_page_is_left_as_it_is(dataset_root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(
        DatasetError, match=r"mine is a folder: --out takes the page to write, such as .*report.html"
    ):
        write_report(dataset_root, tmp_path / "mine", 1, 1, 0)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]
