"""The recipes as a user calls them: teaching cases, augmentation, a set to share, rare combinations.

Also covers: generate/datasheet.py, generate/educational.py.
"""

from pathlib import Path

import pytest
from PIL import Image

from nlbs.shards import open_shards
from tests.generate.conftest import Generate, contents, table
from tests.shards.conftest import make_shard_set


@pytest.fixture
def real(tmp_path: Path) -> Path:
    make_shard_set(tmp_path / "real", patches=24, resolution=32)
    return tmp_path / "real"


def test_a_case_keeps_its_answer_and_the_key_has_it(generate: Generate, tmp_path: Path) -> None:
    assert generate("educational", "--num", 5, "--view", "MLO", "--out", tmp_path / "s").code == 0
    files = contents(tmp_path / "s")
    answers = {"answers/answer_key.csv", "answers/contact_sheet.png"}
    pictures = {f"case-{number:03d}.png" for number in range(1, 16)}
    assert set(files) == pictures | answers | {"contact_sheet.png", "samples.csv", "samples.json"}
    for name in set(files) - answers - {"samples.json"}:  # which names what is withheld
        said = (tmp_path / "s" / name).read_bytes()
        for word in (b"ancer", b"ositive", b"ormal"):
            assert word not in said
    for name in pictures:
        with Image.open(tmp_path / "s" / name) as image:
            image.load()
            text = image.text  # type: ignore[attr-defined]
        assert text["Synthetic"] == "yes"
        assert text["View"] == "MLO"
        assert not any(value in ("yes", "no") for key, value in text.items() if key != "Synthetic")
    key = table(tmp_path / "s" / "answers" / "answer_key.csv")
    said = [(row["answer"], row["cancer"], row["false_positive"]) for row in key]
    kinds = [("normal", "no", "no"), ("cancer", "yes", "no"), ("false positive", "no", "yes")]
    assert sorted(said) == sorted(kinds * 5)
    assert said not in (kinds * 5, sorted(kinds * 5))  # no order that could be guessed
    assert [row["file"] for row in key] == sorted(pictures)


def test_cases_take_view_side_and_age_from_a_set_where_told(
    generate: Generate, real: Path, tmp_path: Path
) -> None:
    assert generate("educational", "--num", 4, "--like", real, "--out", tmp_path / "s").code == 0
    with open_shards(real) as shards:
        codes = shards.conditions(shards.rows("train"))
    known = {
        ("" if view < 0 else ("CC", "MLO")[view], "" if side < 0 else "LR"[side])
        for view, side in zip(codes["view"].tolist(), codes["laterality"].tolist(), strict=True)
    }
    rows = table(tmp_path / "s" / "samples.csv")
    assert {(row["view"], row["laterality"]) for row in rows} <= known
    assert (
        "do not say cancer, which" in generate("educational", "--cancer", "yes", "--out", tmp_path / "t").err
    )


def test_augment_draws_the_conditions_of_each_training_patch(
    generate: Generate, real: Path, tmp_path: Path
) -> None:
    done = generate(
        *("augment", "--shards", real, "--factor", 2, "--vary-age", 0, "--vary-laterality", 0),
        *("--format", "png", "--out", tmp_path / "s"),
    )
    assert done.code == 0, done.err
    rows = table(tmp_path / "s" / "samples.csv")
    with open_shards(real) as shards:
        train = shards.rows("train")
        cancer = shards.conditions()["cancer"]
    assert [int(row["row"]) for row in rows] == [*train.tolist(), *train.tolist()]
    assert [row["cancer"] for row in rows] == [("no", "yes", "")[cancer[int(row["row"])]] for row in rows]
    assert generate("augment", "--shards", real, "--out", tmp_path / "t").code == 0
    with open_shards(tmp_path / "t") as drawn:
        assert len(drawn) == len(train)


@pytest.mark.parametrize(
    "call",
    [
        *(("augment",), ("share", "--num", 2), ("rare",), ("--like",)),
        *(("reconstruct",), ("vary", "--row", 0), ("interpolate", "--row", 0, "--row", 1)),
    ],
)
def test_synthetic_patches_are_not_taken_for_real_ones(
    call: tuple[object, ...], generate: Generate, tmp_path: Path
) -> None:
    assert generate("--num", 2, "--format", "shards", "--out", tmp_path / "drawn").code == 0
    named = () if call[-1] == "--like" else ("--shards",)
    done = generate(*call, *named, tmp_path / "drawn", "--out", tmp_path / "s")
    assert done.code == 1
    assert "holds synthetic patches, drawn by model" in done.err
    assert not list((tmp_path / "s").glob("*.png"))


@pytest.mark.parametrize("kind", ["shards", "png"])
def test_a_shared_set_has_a_datasheet_that_says_what_it_is(
    kind: str, generate: Generate, real: Path, tmp_path: Path
) -> None:
    call = ("share", "--shards", real, "--num", 20, "--seed", 3, "--format", kind, "--out", tmp_path / "s")
    assert generate(*call).code == 0
    text = (tmp_path / "s" / "README.md").read_text()
    for part in ("synthetic", "20 of 32 x 32", "| seed | 3 |", "nlbs-generate share", "| view | "):
        assert part in text
    assert str(tmp_path) not in text
    with open_shards(real) as shards:
        assert shards.dataset_id[:12] in text
    assert generate(*call).code == 0
    if kind == "png":
        assert "row" not in table(tmp_path / "s" / "samples.csv")[0]


def test_a_file_of_somebody_is_not_replaced_by_a_datasheet(
    generate: Generate, real: Path, tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "README.md").write_text("mine")
    refused = generate("share", "--shards", real, "--num", 2, "--out", tmp_path / "s")
    assert refused.code == 1
    assert "README.md" in refused.err
    assert (tmp_path / "s" / "README.md").read_text() == "mine"


def test_rare_combinations_are_named_or_found(generate: Generate, real: Path, tmp_path: Path) -> None:
    done = generate("rare", "--shards", real, "--rarest", 2, "--num", 3, "--out", tmp_path / "s")
    assert done.code == 0, done.err
    assert done.out.count(" patient") == 2
    rows = table(tmp_path / "s" / "samples.csv")
    assert len(rows) == 6
    assert generate("rare", "--cancer", "yes", "--age", 40, "--num", 2, "--out", tmp_path / "t").code == 0
    assert {(r["cancer"], r["age_bin"], r["view"]) for r in table(tmp_path / "t" / "samples.csv")} == {
        ("yes", "<=45", "")
    }
    assert generate("rare", "--num", 2, "--out", tmp_path / "u").code == 2
