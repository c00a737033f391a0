"""Which patches, images and rows stand on a page, against the manifest."""

from pathlib import Path
from urllib.parse import parse_qs, parse_qsl

import pytest

from nlbs.preprocess.view.dataset import Dataset, MissingError, Snapshot
from nlbs.preprocess.view.listings import image_listing, image_page, patch_listing, skipped_listing
from nlbs.shards import open_shards
from tests.conftest import some
from tests.shards.conftest import make_shard_set


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A set of 120 patches, of which two are of a page of their own."""
    folder = tmp_path_factory.mktemp("many") / "set"
    make_shard_set(folder, patches=120, columns={"density": ["A", "B", None] * 40})
    return Dataset(folder).now()


def every_page(snapshot: Snapshot, **asked: str) -> list[int]:
    """Gives the rows on all pages, from link to link."""
    rows: list[int] = []
    while True:
        found = patch_listing(snapshot, asked)
        rows += [patch["row"] for patch in found["patches"]]
        if not found["beside"]["next"]:
            return rows
        asked = dict(parse_qsl(found["beside"]["next"]))


@pytest.mark.parametrize(
    "where", ["", "view == 'MLO'", "cancer == 1 or cancer is null", "density in ['A', 'B']"]
)
@pytest.mark.parametrize("split", ["", "train"])
def test_the_pages_hold_what_the_filter_takes_each_once(many: Snapshot, where: str, split: str) -> None:
    expected = many.opened().rows(split or None, where or None).tolist()
    assert every_page(many, where=where, split=split) == expected
    shuffled = every_page(many, where=where, split=split, order="random")
    assert sorted(shuffled) == expected
    assert shuffled != expected


@pytest.mark.parametrize(
    ("page", "number"), [("0", 1), ("2", 2), ("99", 3), ("-1", 1), ("x", 1), ("9" * 30, 1), ("²", 1)]
)
def test_a_page_that_there_is_none_of_is_the_nearest(many: Snapshot, page: str, number: int) -> None:
    assert patch_listing(many, {"page": page})["number"] == number


def test_a_caption_says_what_the_manifest_knows(many: Snapshot) -> None:
    patches = patch_listing(many, {})["patches"]
    assert patches[0]["caption"] == "CC L <=45\nfalse positive\nage years 44\ndensity A"
    # Of what is merely kept, the unknown is passed over; of the five of NLBS it is told.
    assert patches[2]["caption"] == "view? side? 46-55\ncancer?, no false positive\nage years 50"
    assert [patch["split"] for patch in patches[:4]] == ["train", "train", "val", "test"]


def test_every_filter_that_is_offered_is_one_that_takes_something_known(many: Snapshot) -> None:
    offered = [text for column in patch_listing(many, {})["columns"] for text in column["filters"]]
    for word, query, text in some(offered):
        assert parse_qs(query) == {"where": [text]}
        assert not patch_listing(many, {"where": text})["error"], word
    texts = {text for _, _, text in offered}
    holds = {column["name"]: column["holds"] for column in patch_listing(many, {})["columns"]}
    assert (holds["age_years"], holds["density"]) == ("numbers, 44 to 90", "text")
    assert {"view == 'MLO'", "cancer == 1", "density == 'B'", "density is null", "split == 'val'"} <= texts


def test_images_are_those_of_the_patches_that_the_filter_takes(many: Snapshot) -> None:
    manifest = many.opened().manifest.to_pandas()
    expected = list(dict.fromkeys(manifest[manifest["split"] == "val"]["image"]))
    found = image_listing(many, {"where": "split == 'val'"})
    assert found["total"] == len(expected) == 30
    assert [image["name"] for image in found["images"]] == expected[:24]
    assert {image["count"] for image in found["images"]} == {4}
    assert image_listing(many, {"where": "veiw == 1"})["error"]


def test_an_image_has_its_patches_and_a_filter_for_them(many: Snapshot) -> None:
    found = image_page(many, f"{2:016x}")
    assert [patch["row"] for patch in found["patches"]] == [8, 9, 10, 11]
    (where,) = parse_qs(found["all"])["where"]
    assert every_page(many, where=where) == [8, 9, 10, 11]
    with pytest.raises(MissingError):
        image_page(many, "../x")


def test_rows_without_an_image_stand_with_their_reasons_by_status(dataset_root: Path, tmp_path: Path) -> None:
    lines = (dataset_root / "images.csv").read_text().splitlines(keepends=True)
    head = lines[0].strip().split(",")
    skipped = [{"row": str(90 + n), "image": f"x{n}", "status": ("truncated", "not_dicom")[n % 2], "reason": f"why {n}"}
               for n in range(230)]  # fmt: skip
    lines += [",".join(row.get(name, "") for name in head) + "\n" for row in skipped]
    (tmp_path / "images.csv").write_text("".join(lines))
    snapshot = Dataset(tmp_path).now()
    found = skipped_listing(snapshot, {"page": "3"})
    assert (found["total"], found["last"]) == (230, 3)
    assert [row["reason"] for row in found["read"]["skipped"].rows] == [f"why {n}" for n in range(200, 230)]
    assert dict(found["read"]["remedies"])["truncated"] == "download or copy the file again"
    assert skipped_listing(snapshot, {"status": "truncated"})["total"] == 115
    with open_shards(dataset_root) as shards:
        assert found["read"]["rows"] == len(set(shards.manifest["image"].to_pylist())) + 230
