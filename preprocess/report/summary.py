"""What a command says at its end, in lines of text: one screen."""

import shlex
from collections.abc import Mapping

from nlbs.manifests.schema import NLBS
from nlbs.paths import AnyPath
from nlbs.preprocess.append import AppendSummary
from nlbs.preprocess.build import BuildSummary
from nlbs.preprocess.parts import PartSummary
from nlbs.preprocess.root.checks import Duplicate
from nlbs.preprocess.root.intake import Totals
from nlbs.preprocess.sets.cut import CutSummary
from nlbs.shards.format.layout import IMAGES_CSV
from nlbs.text import counted

#: Of rows that no mended file brings back.
_NOT_LOST = {"duplicate", "other_kind", "disagreement"}
_MOST_KINDS = 8  #: of skipped rows that are named one by one


def cut_summary(cut: CutSummary) -> list[str]:
    """Return what a shard set holds."""
    there = f", {cut.reused:,} of them there already" if cut.reused else ""
    left_out = f"Left out    {counted(cut.unknown_spacing, 'image')} of unknown spacing"
    return [
        f"Patches     {cut.patches:,} in {counted(cut.shards, 'shard')}, {cut.nbytes / 1e6:,.1f} MB{there}",
        *([left_out] if cut.unknown_spacing else []),
        f"Shard set   {cut.folder}",
    ]


def build_summary(summary: BuildSummary) -> list[str]:
    """Return the summary of a build or merge: what was read, what was skipped and why, what was made, where to look."""
    root = summary.shard_set.folder.parent
    return [
        *_table_lines(summary.totals, counted(summary.totals.rows, "row")),
        *_image_lines(summary.totals, "usable"),
        *_duplicate_lines(summary.duplicates),
        *cut_summary(summary.shard_set),
        f"Time        {summary.seconds:.1f} s",
        *_reason_lines(summary.totals, root, summary.duplicates),
        f"Look        {report_command(summary.shard_set.folder, root / 'report.html')}",
    ]


def _kind_lines(kinds: Mapping[str, int]) -> list[str]:
    """Return how many images are of which kind; nothing where nothing says of any."""
    if not set(kinds) - {"unknown"}:
        return []
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    return [f"Kinds       {', '.join(f'{count:,} {kind}' for kind, count in ordered)}"]


def part_summary(summary: PartSummary) -> list[str]:
    """Return what one part of a build did, and what is to follow."""
    share = f"{counted(summary.totals.rows, 'row')} of part {summary.number} of {summary.of}"
    return [
        *_table_lines(summary.totals, share),
        *_image_lines(summary.totals, "usable"),
        f"Time        {summary.seconds:.1f} s",
        f"Next        nlbs-preprocess merge, once all {summary.of} parts are done",
    ]


def append_summary(summary: AppendSummary, root: AnyPath) -> list[str]:
    """Return what append did to a root; that there was nothing to do, where that is so."""
    rows = f"{counted(summary.rows, 'row')}, {summary.known:,} of images that are there already"
    lines = _table_lines(summary.totals, rows)
    if summary.changed:
        lines.append(f"  kept      {summary.changed:,} of them as they are, though the table says otherwise")
    if summary.totals.rows or summary.shard_sets:
        lines += _image_lines(summary.totals, "added")
    else:
        lines.append("Nothing new: the dataset root is as it was")
    lines += _duplicate_lines(summary.duplicates)
    for cut in summary.shard_sets:
        lines += cut_summary(cut)
    lines += [f"Left alone  {folder}, which was not cut from these images" for folder in summary.left_alone]
    lines.append(f"Time        {summary.seconds:.1f} s")
    return [*lines, *_reason_lines(summary.totals, root, summary.duplicates)]


def report_command(shards: AnyPath, out: AnyPath) -> str:
    """Return the command that shows a shard set to a person, as it is typed."""
    return f"nlbs-preprocess report --shards {shlex.quote(str(shards))} --out {shlex.quote(str(out))}"


def _table_lines(totals: Totals, rows: str) -> list[str]:
    notes = [f"            {_on_one_line(note, 400)}" for note in totals.notes]
    return [f"Table       {rows}, {totals.dialect} form", *notes]


def _image_lines(totals: Totals, usable: str) -> list[str]:
    """Return what became of the images; ``usable`` says what those that can be used are now."""
    skipped = totals.rows - totals.usable
    lines = [
        f"Images      {totals.usable:,} {usable}, {totals.decoded:,} decoded now, {skipped:,} skipped",
        *_kind_lines(totals.kinds),
    ]
    kinds = sorted(totals.skipped.items(), key=lambda kind: (-kind[1], kind[0]))
    lines += [f"  skipped   {count:,} {status}" for status, count in kinds[:_MOST_KINDS]]
    if kinds[_MOST_KINDS:]:
        rest = sum(count for _, count in kinds[_MOST_KINDS:])
        lines.append(f"  skipped   {rest:,} of {counted(len(kinds) - _MOST_KINDS, 'other kind')}")
    lines += [f"            {_on_one_line(example)}" for example in totals.examples]
    if totals.examples and skipped > len(totals.examples):
        lines.append(f"            and {skipped - len(totals.examples):,} more")
    lines += [f"  table     {_on_one_line(problem)}" for problem in totals.problems[:_MOST_KINDS]]
    if totals.problems[_MOST_KINDS:]:
        more = counted(len(totals.problems) - _MOST_KINDS, "problem")
        lines.append(f"            and {more} of other kinds")
    lines += [
        f"  header    gave {name} of {counted(count, 'image')}" for name, count in totals.from_header.items()
    ]
    if totals.disagreements:
        images = counted(totals.disagreements, "image")
        lines.append(f"  disagree  table and DICOM header of {images}: see --disagree")
    if totals.remarks:
        lines.append(f"  remarks   on {counted(totals.remarks, 'usable image')}: see the column reason")
    return lines + [
        f"  unknown   {name} of {counted(totals.unknown[name], 'image')}"
        for name in NLBS.names
        if totals.unknown[name]
    ]


def _reason_lines(totals: Totals, root: AnyPath, duplicates: list[Duplicate]) -> list[str]:
    lines = [f"Reasons     {root / IMAGES_CSV}"] if totals.skipped or totals.remarks or duplicates else []
    if totals.skipped.keys() - _NOT_LOST:
        lines.append(
            "Retry       nlbs-preprocess append with the same --csv, once files are mended: those rows alone"
        )
    return lines


def _duplicate_lines(duplicates: list[Duplicate]) -> list[str]:
    if not duplicates:
        return []
    doubled = sum(len(duplicate.images) for duplicate in duplicates)
    patients = sum(duplicate.across_patients for duplicate in duplicates)
    leaks = sum(duplicate.is_leak for duplicate in duplicates)
    line = f"  equal     {counted(doubled, 'image')} show {counted(len(duplicates), 'picture')}"
    return [f"{line}; {patients:,} under several patients, {leaks:,} in several splits"]


def _on_one_line(text: str, most: int = 200) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[: most - 3]}..."
