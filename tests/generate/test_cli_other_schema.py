"""A model with other conditions than the NLBS dataset's, through the real commands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION, Condition, Schema
from nlbs.models import registry
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.contract import ImageSpec
from nlbs.preprocess.to_dicom import write_captures
from nlbs.shards import open_shards
from nlbs.shards.format.verify import damages
from nlbs.train import PatchStream
from tests.conftest import some
from tests.generate.conftest import Done, Generate, contents, table
from tests.models.toy import Toy, ToyConfig
from tests.shards.conftest import make_shard_set

DENSITY = Condition("density", "ordinal", ("A", "B", "C", "D"))
FINDINGS = Condition("findings", "multilabel", ("Mass", "Nodule"), healthy=0)
SCHEMA = Schema((NLBS["view"], DENSITY, FINDINGS, POSITION))
PATCHES = 24


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    before = dict(registry._MODULES)
    registry.register("toy", "tests.models.toy")
    yield
    registry._MODULES.clear()
    registry._MODULES.update(before)


def toy(folder: Path, schema: Schema, **training: Any) -> Path:
    torch.manual_seed(0)
    path = folder / "best_model.safetensors"
    save_checkpoint(path, Toy(ToyConfig(), ImageSpec(1, 32), schema), training)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy(tmp_path_factory.mktemp("toy"), SCHEMA)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 patches; each fourth has no density, the third of four both findings, the fourth none that is known."""
    folder = tmp_path_factory.mktemp("real") / "r32-s32"
    findings = ["Mass", "No finding", "Nodule|Mass", None]
    columns = {
        "view": [("CC", "MLO", "MLO")[row // 4 % 3] for row in range(PATCHES)],
        "density": [[None, "B", "B", "D"][row % 4] for row in range(PATCHES)],
        "findings": [findings[row % 4] for row in range(PATCHES)],
        "split": ["train"] * 20 + ["val"] * 4,
    }
    make_shard_set(folder, PATCHES, resolution=32, columns=columns)
    return folder


@pytest.fixture
def draw(generate: Generate, model: Path, tmp_path: Path) -> Any:
    def call(*arguments: object, out: str = "s", code: int = 0) -> Done:
        words = list(arguments)
        command = [words.pop(0)] if words and not str(words[0]).startswith("-") else []
        done = generate(*command, "--checkpoint", model, *words, "--out", tmp_path / out)
        assert done.code == code, done.err
        return done

    return call


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_any_condition_is_said_by_name_and_the_patch_follows_it(draw: Any, tmp_path: Path) -> None:
    said = ("--condition", "findings=nodule|mass", "--condition", "Position=0.25,1")
    draw("--view", "MLO", "--condition", "density=D", *said, "--num", 2)
    rows = table(tmp_path / "s" / "samples.csv")
    assert list(rows[0]) == [
        *("file", "index", "seed", "view", "density", "findings", "position", "model", "sampler", "synthetic")
    ]
    assert {(r["view"], r["density"], r["findings"], r["position"]) for r in rows} == {
        ("MLO", "D", "Mass|Nodule", "0.25,1")
    }
    with Image.open(tmp_path / "s" / rows[0]["file"]) as image:
        image.load()
        assert image.text["Findings"] == "Mass|Nodule"  # type: ignore[attr-defined]
    draw("--view", "MLO", "--num", 2, out="plain")
    (first, other) = (pixels(tmp_path / name / rows[0]["file"]) for name in ("s", "plain"))
    assert (first != other).any()


def test_what_the_model_does_not_have_is_refused_with_what_it_has(draw: Any, tmp_path: Path) -> None:
    for flags in (("--cancer", "yes"), ("--age", 66), ("--condition", "denstiy=D")):
        done = draw(*flags, code=2)
        assert "expected one of view, density, findings, position" in done.err
    assert "joined by |, or no finding" in draw("--condition", "findings=Lump", code=2).err
    assert "said twice" in draw("--view", "CC", "--condition", "view=CC", code=2).err
    assert not (tmp_path / "s").exists()


def test_a_folder_of_other_conditions_is_not_continued(draw: Any) -> None:
    call = ("--num", 2, "--condition")
    draw(*call, "position=0.5,0.5")
    assert "nothing was left to do" in draw(*call, "position=0.5,0.5").out
    for other in ("position=0.5,0.25", "findings=Mass"):
        assert "other conditions for some patches" in draw(*call, other, code=1).err


def test_a_table_has_the_columns_of_the_model(draw: Any, tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text('View,findings,position,count\nCC,Mass,"0.5,0.25",2\n,no finding,,1\n')
    draw("--conditions", path)
    rows = table(tmp_path / "s" / "samples.csv")
    assert [(r["view"], r["findings"], r["position"]) for r in rows] == [
        *[("CC", "Mass", "0.5,0.25")] * 2, ("", "no finding", "")
    ]  # fmt: skip
    path.write_text("findings,cancer\nLump,yes\n")
    refused = draw("--conditions", path, code=1, out="t").err
    assert "row 1, column findings: found 'Lump', expected some of Mass, Nodule, joined by |" in refused
    assert "found a column 'cancer', which is none" in refused


def test_a_grid_has_each_label_alone_and_numbers_unknown(draw: Any, tmp_path: Path) -> None:
    draw("--grid", "--num", 1, "--condition", "density=C")
    rows = table(tmp_path / "s" / "samples.csv")
    assert [(r["view"], r["findings"]) for r in rows] == [
        (view, word) for view in ("CC", "MLO") for word in ("no finding", "Mass", "Nodule")
    ]
    assert {(r["density"], r["position"]) for r in rows} == {("C", "")}


def test_conditions_are_drawn_as_they_occur_together(draw: Any, real: Path, tmp_path: Path) -> None:
    draw("--like", real, "--num", 60)
    with open_shards(real) as shards:
        values = shards.conditions(shards.rows("train"), SCHEMA)
    occurring = {tuple(SCHEMA.words(SCHEMA.values_of(values, row)).values()) for row in range(20)}
    assert "Mass|Nodule" in {words[2] for words in occurring}
    rows = table(tmp_path / "s" / "samples.csv")
    drawn = {tuple(r[name] for name in SCHEMA.names) for r in rows}
    assert drawn == occurring
    assert len(drawn) == 8


def test_augmentation_varies_ordinal_and_mirrored_conditions(draw: Any, real: Path, tmp_path: Path) -> None:
    draw("augment", "--shards", real, "--vary-ordinal", 1, "--vary-mirror", 1, "--format", "png")
    with open_shards(real) as shards:
        values = shards.conditions(shards.rows("train"), SCHEMA)
    rows = table(tmp_path / "s" / "samples.csv")
    assert len(rows) == 20
    for row in rows:
        before = SCHEMA.values_of(values, int(row["row"]))
        neighbours = {-1: [""], 1: ["A", "C"], 3: ["C"]}[before["density"]]  # type: ignore[index]
        assert row["density"] in neighbours
        across, down = map(float, row["position"].split(","))
        assert (1 - across, down) == pytest.approx(before["position"], abs=1e-5)
    with (tmp_path / "s" / "samples.json").open() as file:
        assert "density moved with probability 1, position with 1" in json.load(file)["conditions"]


def test_the_rarest_combinations_have_labels_and_leave_numbers_open(
    draw: Any, real: Path, tmp_path: Path
) -> None:
    done = draw("rare", "--shards", real, "--rarest", 2, "--num", 1, "--condition", "position=0.5,0.5")
    assert "findings Mass|Nodule" in done.out
    rows = table(tmp_path / "s" / "samples.csv")
    assert len(rows) == 2
    assert {r["position"] for r in rows} == {"0.5,0.5"}
    assert "" not in {r["findings"] for r in rows} | {r["density"] for r in rows}
    fixed = ("--condition", "findings=no finding")
    assert "findings no finding, position unknown" in draw("rare", "--shards", real, *fixed, out="f").out


def test_cases_are_of_what_healthy_patients_do_not_have(draw: Any, tmp_path: Path) -> None:
    done = draw("educational", "--num", 2, "--condition", "findings=Mass", code=1)
    assert "cases are normal, findings Mass, findings Nodule: do not say findings" in done.err
    draw("educational", "--num", 2, "--view", "CC")
    key = table(tmp_path / "s" / "answers" / "answer_key.csv")
    assert sorted((r["answer"], r["findings"]) for r in key) == [
        *[("findings Mass", "Mass")] * 2, *[("findings Nodule", "Nodule")] * 2, *[("normal", "no finding")] * 2
    ]  # fmt: skip
    shown = table(tmp_path / "s" / "samples.csv")[0]
    assert "findings" not in shown
    assert shown["density"] in DENSITY.values
    assert all(b"inding" not in path.read_bytes() for path in (tmp_path / "s").glob("*.png"))


def test_cases_of_a_model_that_knows_nobody_healthy_are_refused(generate: Generate, tmp_path: Path) -> None:
    path = toy(tmp_path, Schema((NLBS["view"], DENSITY)))
    done = generate("educational", "--checkpoint", path, "--out", tmp_path / "s")
    assert done.code == 1
    assert "no condition that tells healthy patients from others" in done.err


def test_a_datasheet_counts_labels_and_ranges_of_numbers(draw: Any, real: Path, tmp_path: Path) -> None:
    draw("share", "--shards", real, "--num", 30, "--format", "png")
    rows = table(tmp_path / "s" / "samples.csv")
    text = (tmp_path / "s" / "README.md").read_text()
    for name in some(FINDINGS.values):
        count = sum(name in r["findings"].split("|") for r in rows)
        assert f"| findings | {name} | {count} |" in text
    assert f"| findings | unknown | {sum(not r['findings'] for r in rows)} |" in text
    assert f"| density | D | {sum(r['density'] == 'D' for r in rows)} |" in text
    assert "| position | 0.5," in text


def test_a_shard_set_has_the_conditions_as_columns_and_trains_such_a_model(
    draw: Any, real: Path, tmp_path: Path
) -> None:
    call = ("share", "--shards", real, "--num", 30)
    draw(*call)
    folder = tmp_path / "s" / "r32-synthetic"
    draw(*call, "--format", "png", out="png")
    said = table(tmp_path / "png" / "samples.csv")
    assert list(damages(folder)) == []
    with open_shards(folder) as shards:
        assert shards.manifest.column_names[17:] == [
            *("synthetic", "model", "seed", "sampler", "density", "findings", "position")
        ]
        values = shards.conditions(None, SCHEMA)
        read = [SCHEMA.words(SCHEMA.values_of(values, row)) for row in range(30)]
        assert read == [{name: row[name] for name in SCHEMA.names} for row in said]
        assert set(shards.code_books["density"]) == {"B", "D"}
        again = shards.schema(["view", "density", "findings", "position"])
        assert [c.kind for c in again] == [c.kind for c in SCHEMA]
        batch = next(iter(PatchStream(shards, batch_size=8, seed=0, split="train", schema=SCHEMA)))
        assert batch.conditions["findings"].shape == (8, 2)
    before = contents(tmp_path / "s")
    assert "nothing was left to do" in draw(*call).out
    assert contents(tmp_path / "s") == before


def test_ages_go_to_their_own_columns_and_names_that_are_taken_are_said(
    generate: Generate, tmp_path: Path
) -> None:
    machine = Condition("model", "categorical", ("Selenia", "Inspira"))
    path = toy(tmp_path, Schema((NLBS["age_bin"], AGE_YEARS, machine)))
    call = ("--checkpoint", path, "--age", 66, "--condition", "model=Inspira", "--num", 2)
    done = generate(*call, "--format", "shards", "--out", tmp_path / "s")
    assert done.code == 0, done.err
    assert "a shard set has a column model of its own: the condition model is not written" in done.out
    with open_shards(tmp_path / "s") as shards:
        rows = shards.manifest.to_pylist()
    assert [(r["age_years"], r["age_bin"], r["view"], r["cancer"]) for r in rows] == [(66, 3, None, None)] * 2
    assert rows[0]["model"] != "Inspira"
    assert generate(*call, "--out", tmp_path / "png").code == 0
    (row, _) = table(tmp_path / "png" / "samples.csv")
    assert (row["condition_model"], row["age_years"], row["age_bin"]) == ("Inspira", "66", ">65")
    assert row["model"] == rows[0]["model"]


def test_captures_say_the_conditions_of_the_model_and_no_others(
    draw: Any, generate: Generate, tmp_path: Path
) -> None:
    said = ("--view", "MLO", "--condition", "findings=Mass|Nodule", "--condition", "position=0.25,1")
    expected = "Asked for: view MLO, density unknown, findings Mass|Nodule, position 0.25,1. Model "
    for kind in ("png", "shards"):
        draw(*said, "--num", 1, "--format", kind, out=kind)
        assert write_captures(tmp_path / kind, tmp_path / "dicom" / kind) == 1
        (path,) = (tmp_path / "dicom" / kind).glob("*.dcm")
        assert expected in pydicom.dcmread(path).ImageComments
    machine = Condition("model", "categorical", ("Selenia", "Inspira"))
    path = toy(tmp_path, Schema((NLBS["age_bin"], AGE_YEARS, machine)))
    call = ("--checkpoint", path, "--age", 66, "--condition", "model=Inspira", "--num", 1)
    for kind, asked in (("png", ", model Inspira. Model "), ("shards", ". Model ")):
        assert generate(*call, "--out", tmp_path / "m" / kind, "--format", kind).code == 0
        write_captures(tmp_path / "m" / kind, tmp_path / "dicom" / "m" / kind)
        (path,) = (tmp_path / "dicom" / "m" / kind).glob("*.dcm")
        assert f"Asked for: age bin >65, age years 66{asked}" in pydicom.dcmread(path).ImageComments


def test_an_interpolation_goes_between_labels_and_numbers(draw: Any, tmp_path: Path) -> None:
    ends = ("findings=Mass,position=0,0.5", "position=1,0.5,density=A")
    draw("interpolate", "--from", ends[0], "--to", ends[1], "--steps", 3)
    rows = table(tmp_path / "s" / "samples.csv")
    assert (rows[0]["from_findings"], rows[0]["from_position"], rows[0]["to_findings"]) == (
        "Mass",
        "0,0.5",
        "",
    )
    for place, end in ((0, ends[0]), (2, ends[1])):
        said = [
            part
            for pair in end.replace(",d", ";d").replace(",p", ";p").split(";")
            for part in ("--condition", pair)
        ]
        draw(*said, "--num", 1, out=f"end{place}")
        drawn = pixels(tmp_path / f"end{place}" / "synthetic-000000.png")
        shown = pixels(tmp_path / "s" / f"interpolation-{place:03d}.png")
        assert np.abs(shown - drawn).max() <= 1
    between = pixels(tmp_path / "s" / "interpolation-001.png")
    assert (between != pixels(tmp_path / "s" / "interpolation-000.png")).any()
    asked = json.loads((tmp_path / "s" / "samples.json").read_text())["ends"]
    assert asked[0] == {"view": -1, "density": -1, "findings": "Mass", "position": "0,0.5"}


def test_a_note_names_values_that_training_never_met(generate: Generate, tmp_path: Path) -> None:
    met = {"view": [0, 1], "density": [-1, 1], "findings": [-1, 0], "position": [0]}
    path = toy(tmp_path, SCHEMA, conditions=met)
    said = ("--condition", "density=D", "--condition", "findings=Nodule")
    done = generate("--checkpoint", path, "--view", "CC", *said, "--num", 1, "--out", tmp_path / "s")
    assert "with density D, or with findings Nodule, or with position unknown: what it" in done.out
