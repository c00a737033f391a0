"""What became of the rows of a table, counted once, in one way; and what build, part, merge and append did."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nlbs.paths import AnyPath
from nlbs.preprocess.root.checks import Duplicate
from nlbs.preprocess.sets.write import CutSummary

CONDITIONS = ("view", "laterality", "age_bin", "cancer", "false_positive")
_MOST_EXAMPLES = 5


@dataclass
class Totals:
    """What is said at the end of a command that takes images in."""

    dialect: str  #: of the table
    notes: tuple[str, ...]  #: on the tables as a whole
    problems: list[str]  #: of the tables, each with its rows
    decoded: int  #: in this run
    disagreements: int  #: images whose table and header state different things
    rows: int = 0
    usable: int = 0
    remarks: int = 0  #: usable images with a remark in images.csv
    skipped: Counter[str] = field(default_factory=Counter)  #: status -> rows
    from_header: Counter[str] = field(default_factory=Counter)  #: condition -> usable images that it filled
    unknown: Counter[str] = field(default_factory=Counter)  #: condition -> usable images that lack it
    kinds: Counter[str] = field(default_factory=Counter)  #: kind -> images of it, used or left out
    examples: list[str] = field(default_factory=list)  #: a few skipped rows in words, for the console

    def counting(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rows of images.csv as they are, and count them on the way.

        Args:
            rows: as they are written, or as they were read.
        """
        for row in rows:
            self.rows += 1
            self.kinds.update(kind for kind in (row.get("kind"),) if kind)
            if row["status"] == "ok":
                self.usable += 1
                self.remarks += bool(row["reason"])
                self.from_header.update(row["from_header"].split())
                self.unknown.update(name for name in CONDITIONS if row[name] in (None, ""))
            else:
                self.skipped[row["status"]] += 1
                if len(self.examples) < _MOST_EXAMPLES:
                    self.examples.append(in_words(row))
            yield row


def in_words(row: Mapping[str, Any]) -> str:
    """Return what became of a row, by its number: a path may name a patient, and what is said is kept in logs.

    Args:
        row: of images.csv.
    """
    return f"row {row['row']}: {row['reason']}"


@dataclass(frozen=True)
class BuildSummary:
    """What build-shards or merge did."""

    totals: Totals
    duplicates: list[Duplicate]  #: images with equal pixels
    shard_set: CutSummary
    seconds: float


@dataclass(frozen=True)
class PartSummary:
    """What one part of a build did."""

    number: int  #: of the part, from 1
    of: int
    totals: Totals  #: of its share of the table
    seconds: float


@dataclass(frozen=True)
class AppendSummary:
    """What append did."""

    totals: Totals  #: of the rows that are new
    rows: int  #: of the table
    known: int  #: rows whose image is there already
    changed: int  #: of these, kept although the table says otherwise
    duplicates: list[Duplicate]  #: images with equal pixels in the whole root
    shard_sets: list[CutSummary]  #: that have a new generation
    left_alone: list[AnyPath]  #: shard sets that were not cut from these images
    seconds: float
