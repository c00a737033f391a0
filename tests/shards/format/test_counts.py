"""Counts of patches, images and patients, against a plain loop over the manifest."""

from pathlib import Path

from nlbs.shards import open_shards
from nlbs.shards.format.counts import by_condition, by_split, crosstab, images_of
from tests.conftest import some


def looped(rows: list[dict], **wanted: object) -> dict[str, int]:
    chosen = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return {
        "patches": len(chosen),
        "images": len({row["image"] for row in chosen}),
        "patients": len({row["patient"] for row in chosen}),
    }


def test_counts_are_those_of_a_loop_and_unknown_is_a_value_of_its_own(dataset_root: Path) -> None:
    shards = open_shards(dataset_root)
    rows, held = shards.manifest.to_pylist(), images_of(shards.manifest)
    assert by_split(held)["all"] == looped(rows)
    assert by_split(held)["train"] == looped(rows, split="train")
    found = by_condition(held)
    words = {
        "age_bin": {0: "<=45 years", 1: "46-55 years", 2: "56-65 years", 3: ">65 years"},
        "cancer": {0: "no", 1: "yes"},
        "false_positive": {0: "no", 1: "yes"},
    }
    for name, values in found.items():
        stated = {row[name] for row in rows}
        assert len(values) == len(stated)
        for value in some(stated):
            word = "unknown" if value is None else words.get(name, {}).get(value, value)
            for split in ("train", "val", "test"):
                assert values[word][split] == looped(rows, split=split, **{name: value})
            assert values[word]["all"] == looped(rows, **{name: value})
    assert list(found["age_bin"])[-1] == "unknown"


def test_a_crosstab_has_each_combination_once(dataset_root: Path) -> None:
    shards = open_shards(dataset_root)
    rows, table = shards.manifest.to_pylist(), crosstab(images_of(shards.manifest), ("view", "laterality"))
    assert sum(total["patches"] for _, total in table) == len(rows)
    for (view, side), total in table:
        assert total == looped(rows, view=view, laterality=side)
