"""What a command says at its end, in lines of text: one screen."""

import shlex

from nlbs.paths import AnyPath
from nlbs.preprocess.append import AppendSummary
from nlbs.preprocess.build import BuildSummary
from nlbs.preprocess.duplicates import Duplicate
from nlbs.preprocess.parts import PartSummary
from nlbs.preprocess.shard_set import CutSummary
from nlbs.shards.layout import IMAGES_CSV

_MOST_KINDS = 8  #: of skipped rows that are named one by one


def counted(number: int, noun: str, plural: str = "") -> str:
    """Gives a number with its noun: "1 file", "1,200 files"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def cut_summary(cut: CutSummary) -> list[str]:
    """Gives what a shard set holds."""
    there = f", {cut.reused:,} of them there already" if cut.reused else ""
    left_out = f"Left out    {counted(cut.unknown_spacing, 'image')} of unknown spacing"
    return [
        f"Patches     {cut.patches:,} in {counted(cut.shards, 'shard')}, {cut.nbytes / 1e6:,.1f} MB{there}",
        *([left_out] if cut.unknown_spacing else []),
        f"Shard set   {cut.folder}",
    ]


def build_summary(summary: BuildSummary) -> list[str]:
    """Gives the summary of a build: what was read, what was skipped and why, what was made, where to look."""
    cut, root = summary.shard_set, summary.shard_set.folder.parent
    skipped = sum(summary.skipped.values())
    lines = [
        f"Table       {counted(summary.rows, 'row')}, {summary.dialect} form",
        f"Images      {cut.images:,} usable, {summary.decoded:,} decoded now, {skipped:,} skipped",
    ]
    lines[1:1] = [f"            {_on_one_line(note, 400)}" for note in summary.notes]
    kinds = sorted(summary.skipped.items(), key=lambda kind: (-kind[1], kind[0]))
    lines += [f"  skipped   {count:,} {status}" for status, count in kinds[:_MOST_KINDS]]
    if kinds[_MOST_KINDS:]:
        rest = sum(count for _, count in kinds[_MOST_KINDS:])
        lines.append(f"  skipped   {rest:,} of {counted(len(kinds) - _MOST_KINDS, 'other kind')}")
    lines += [f"            {_on_one_line(example)}" for example in summary.examples]
    lines += [f"  table     {_on_one_line(problem)}" for problem in summary.problems[:_MOST_KINDS]]
    if summary.problems[_MOST_KINDS:]:
        more = counted(len(summary.problems) - _MOST_KINDS, "problem")
        lines.append(f"            and {more} of other kinds")
    lines += [
        f"  header    gave {name} of {counted(count, 'image')}" for name, count in summary.from_header.items()
    ]
    if summary.disagreements:
        images = counted(summary.disagreements, "image")
        lines.append(f"  disagree  table and DICOM header of {images}: see --disagree")
    if summary.remarks:
        lines.append(f"  remarks   on {counted(summary.remarks, 'usable image')}: see the column reason")
    lines += [f"  unknown   {name} of {counted(count, 'image')}" for name, count in summary.unknown.items()]
    lines += _duplicate_lines(summary.duplicates)
    lines += [*cut_summary(cut), f"Time        {summary.seconds:.1f} s"]
    if skipped or summary.remarks or summary.duplicates:
        lines.append(f"Reasons     {root / IMAGES_CSV}")
    return [*lines, f"Look        {report_command(cut.folder, root / 'report.html')}"]


def part_summary(summary: PartSummary) -> list[str]:
    """Gives what one part of a build did, and what is to follow."""
    part = summary.part
    images = counted(summary.images, "image")
    return [
        f"Part        {part.number} of {part.of}: {images}, {summary.decoded:,} decoded now",
        *(f"  skipped   {count:,} {status}" for status, count in sorted(summary.skipped.items())),
        f"Time        {summary.seconds:.1f} s",
        f"Next        nlbs-preprocess merge, once all {part.of} parts are done",
    ]


def append_summary(summary: AppendSummary) -> list[str]:
    """Gives what append did; that there was nothing to do, where that is so."""
    rows = counted(summary.rows, "row")
    lines = [f"Table       {rows}, {summary.known:,} of images that are there already"]
    if summary.changed:
        lines.append(f"  kept      {summary.changed:,} of them as they are, though the table says otherwise")
    if summary.added or summary.skipped or summary.shard_sets:
        lines.append(f"Images      {summary.added:,} added, {sum(summary.skipped.values()):,} skipped")
        lines += [f"  skipped   {count:,} {status}" for status, count in sorted(summary.skipped.items())]
        lines += [f"            {_on_one_line(example)}" for example in summary.examples]
    else:
        lines.append("Nothing new: the dataset root is as it was")
    for cut in summary.shard_sets:
        lines += cut_summary(cut)
    lines += [f"Left alone  {folder}, which was not cut from these images" for folder in summary.left_alone]
    return [*lines, f"Time        {summary.seconds:.1f} s"]


def report_command(shards: AnyPath, out: AnyPath) -> str:
    """Gives the command that shows a shard set to a person, as it is typed."""
    return f"nlbs-preprocess report --shards {shlex.quote(str(shards))} --out {shlex.quote(str(out))}"


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
