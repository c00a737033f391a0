"""The lines at the end of a build: one screen, in plain words."""

from collections import Counter
from pathlib import Path

from nlbs.preprocess.append import AppendSummary
from nlbs.preprocess.build import BuildSummary
from nlbs.preprocess.parts import PartSummary
from nlbs.preprocess.report.summary import append_summary, build_summary, counted, part_summary
from nlbs.preprocess.root.checks import Duplicate, StoredPixels, find_duplicates
from nlbs.preprocess.root.intake import Totals
from nlbs.preprocess.sets.cut import CutSummary

CUT = CutSummary(Path("my shards/r64-s64"), images=1, patches=1, shards=1, nbytes=10240, reused=0)


def totals(**changes: object) -> Totals:
    facts: dict[str, object] = {
        "dialect": "NLBS",
        "notes": (),
        "problems": [],
        "decoded": 1,
        "disagreements": 0,
        "rows": 1,
        "usable": 1,
    }
    facts |= {name: Counter(value) if isinstance(value, dict) else value for name, value in changes.items()}
    return Totals(**facts)  # type: ignore[arg-type]


def lines(duplicates: list[Duplicate] | None = None, **changes: object) -> list[str]:
    return build_summary(BuildSummary(totals(**changes), duplicates or [], CUT, seconds=1.0))


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
    for count, said in ((6, ["            and 1 more"]), (5, [])):
        found = lines(rows=9, usable=9 - count, skipped={"missing": count}, examples=["row 1: gone"] * 5)
        assert [line for line in found if "more" in line] == said


def test_the_last_line_is_the_command_to_look_with() -> None:
    assert lines()[-1].endswith(
        "nlbs-preprocess report --shards 'my shards/r64-s64' --out 'my shards/report.html'"
    )


def test_equal_images_are_counted() -> None:
    images = [StoredPixels(str(n), "aa" * 32, f"p{n}", ("train", "val")[n % 2]) for n in range(3)]
    text = "\n".join(lines(duplicates=find_duplicates(images)))
    assert "3 images show 1 picture; 1 under several patients, 1 in several splits" in text


def test_a_row_counts_the_same_as_it_is_written_and_as_it_is_read() -> None:
    """0 is a value, an empty cell none: in numbers and in the text of a table."""
    written = {"status": "ok", "reason": "x", "from_header": "view age_bin", "view": "CC", "laterality": None}
    written |= {"age_bin": 0, "cancer": 0, "false_positive": None, "row": 3}
    read = {name: "" if value is None else str(value) for name, value in written.items()}
    skipped = {"status": "missing_file", "reason": "no such file", "row": "4", "from_header": ""}
    for row in (written, read):
        found = totals(rows=0, usable=0)
        assert list(found.counting([row, skipped])) == [row, skipped]
        assert (found.rows, found.usable, found.remarks) == (2, 1, 1)
        assert found.unknown == {"laterality": 1, "false_positive": 1}
        assert found.from_header == {"view": 1, "age_bin": 1}
        assert found.skipped == {"missing_file": 1}
        assert found.examples == ["row 4: no such file"]


def test_build_part_and_append_say_the_same_of_the_same_rows() -> None:
    what: dict[str, object] = {"rows": 3, "usable": 2, "skipped": {"missing_file": 1}, "disagreements": 1}
    what |= {"notes": ("a note",), "problems": ["a problem: row 2"], "examples": ["row 3: no file"]}
    what |= {"unknown": {"view": 1}, "remarks": 2, "from_header": {"laterality": 1}}
    counts = totals(**what)
    build = build_summary(BuildSummary(counts, [], CUT, 1.0))
    part = part_summary(PartSummary(2, 4, counts, 1.0))
    grown = append_summary(AppendSummary(counts, 9, 6, 0, [], [CUT], [], 1.0), Path("my shards"))
    said = [line for line in build if line.startswith("  ")]
    assert len(said) == 8
    assert [line for line in part if line.startswith("  ")] == said
    assert [line for line in grown if line.startswith("  ")] == said
    assert "Reasons     my shards/images.csv" in build
    assert "Reasons     my shards/images.csv" in grown
