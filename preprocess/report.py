"""What a command says at its end, in lines of text."""

from nlbs.preprocess.append import AppendSummary
from nlbs.preprocess.build import BuildSummary
from nlbs.preprocess.parts import PartSummary
from nlbs.preprocess.shard_set import CutSummary


def cut_report(cut: CutSummary) -> list[str]:
    """Gives what a shard set holds."""
    reused = f", {cut.reused} of them there already" if cut.reused else ""
    return [
        f"Patches     {cut.patches:,} in {cut.shards} shards, {cut.nbytes / 1e6:,.1f} MB{reused}",
        f"Shard set   {cut.folder}",
    ]


def build_report(summary: BuildSummary) -> list[str]:
    """Gives the summary of a build: what was read, what was skipped and why, what was made."""
    cut = summary.shard_set
    skipped = sum(summary.skipped.values())
    lines = [
        f"Table       {summary.rows} rows, {summary.dialect} form",
        f"Images      {cut.images} usable, {summary.decoded} decoded now, {skipped} skipped",
    ]
    lines += [f"  skipped   {count} {status}" for status, count in sorted(summary.skipped.items())]
    lines += [f"            {example}" for example in summary.examples]
    if summary.remarks:
        lines.append(f"  remarks   on {summary.remarks} usable images: see the column reason")
    lines += [f"  unknown   {name} of {count} images" for name, count in summary.unknown.items()]
    lines += [*cut_report(cut), f"Time        {summary.seconds:.1f} s"]
    if skipped or summary.remarks:
        lines.append(f"Reasons     {cut.folder.parent / 'images.csv'}")
    return lines


def part_report(summary: PartSummary) -> list[str]:
    """Gives what one part of a build did, and what is to follow."""
    part = summary.part
    return [
        f"Part        {part.number} of {part.of}: {summary.images} images, {summary.decoded} decoded now",
        *(f"  skipped   {count} {status}" for status, count in sorted(summary.skipped.items())),
        f"Time        {summary.seconds:.1f} s",
        f"Next        nlbs-preprocess merge, once all {part.of} parts are done",
    ]


def append_report(summary: AppendSummary) -> list[str]:
    """Gives what append did; that there was nothing to do, where that is so."""
    lines = [f"Table       {summary.rows} rows, {summary.known} of images that are there already"]
    if summary.changed:
        lines.append(f"  kept      {summary.changed} of them as they are, though the table says otherwise")
    if summary.added or summary.skipped or summary.shard_sets:
        lines.append(f"Images      {summary.added} added, {sum(summary.skipped.values())} skipped")
        lines += [f"  skipped   {count} {status}" for status, count in sorted(summary.skipped.items())]
        lines += [f"            {example}" for example in summary.examples]
    else:
        lines.append("Nothing new: the dataset root is as it was")
    for cut in summary.shard_sets:
        lines += cut_report(cut)
    lines += [f"Left alone  {folder}, which was not cut from these images" for folder in summary.left_alone]
    return [*lines, f"Time        {summary.seconds:.1f} s"]
