"""The lines at the end of a build: one screen, in plain words."""

from pathlib import Path

from nlbs.preprocess.build import BuildSummary
from nlbs.preprocess.duplicates import StoredPixels, find_duplicates
from nlbs.preprocess.report.summary import build_summary, counted
from nlbs.preprocess.shard_set import CutSummary


def lines(**changes: object) -> list[str]:
    cut = CutSummary(Path("my shards/r64-s64"), images=1, patches=1, shards=1, nbytes=10240, reused=0)
    facts: dict[str, object] = {
        "dialect": "NLBS",
        "rows": 1,
        "decoded": 1,
        "skipped": {},
        "remarks": 0,
        "from_header": {},
        "disagreements": 0,
        "notes": (),
        "problems": [],
        "unknown": {},
        "duplicates": [],
        "examples": [],
        "shard_set": cut,
        "seconds": 1.0,
    }
    return build_summary(BuildSummary(**(facts | changes)))  # type: ignore[arg-type]


def test_one_is_not_spoken_of_as_many() -> None:
    text = "\n".join(lines(remarks=1, unknown={"view": 1}))
    for words in ("1 row,", "in 1 shard,", "on 1 usable image:", "view of 1 image"):
        assert words in text
    assert not any(f"1 {noun}s" in text for noun in ("row", "shard", "usable image", "image"))
    assert (counted(2, "patch", "patches"), counted(1200, "row")) == ("2 patches", "1,200 rows")


def test_the_worst_table_still_gives_one_screen() -> None:
    skipped = {f"status_{number}": number + 1 for number in range(15)}
    unknown = dict.fromkeys(("view", "laterality", "age_bin", "cancer", "false_positive"), 7)
    found = lines(skipped=skipped, unknown=unknown, remarks=3, examples=["row 1: " + "x\n" * 9000] * 5)
    assert len(found) <= 30
    assert max(len(line) for line in found) < 240
    assert "  skipped   15 status_14" in found  # the largest first
    assert "  skipped   28 of 7 other kinds" in found  # 1 + 2 + ... + 7


def test_the_last_line_is_the_command_to_look_with() -> None:
    assert lines()[-1].endswith(
        "nlbs-preprocess report --shards 'my shards/r64-s64' --out 'my shards/report.html'"
    )


def test_equal_images_are_counted() -> None:
    images = [StoredPixels(str(n), "aa" * 32, f"p{n}", ("train", "val")[n % 2]) for n in range(3)]
    text = "\n".join(lines(duplicates=find_duplicates(images)))
    assert "3 images show 1 picture; 1 under several patients, 1 in several splits" in text
