"""What a command says at its end, in lines of text."""

from nlbs.preprocess.build import BuildSummary
from nlbs.preprocess.shard_set import CutSummary

_MOST_PROBLEMS = 12  # lines on the table; images.csv has every row


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
    lines[1:1] = [f"            {note}" for note in summary.notes]
    lines += [f"  skipped   {count} {status}" for status, count in sorted(summary.skipped.items())]
    lines += [f"            {example}" for example in summary.examples]
    lines += [f"  table     {problem}" for problem in summary.problems[:_MOST_PROBLEMS]]
    if len(summary.problems) > _MOST_PROBLEMS:
        lines.append(f"            and {len(summary.problems) - _MOST_PROBLEMS} problems of other kinds")
    lines += [f"  header    gave {name} of {count} images" for name, count in summary.from_header.items()]
    if summary.disagreements:
        lines.append(f"  disagree  table and DICOM header of {summary.disagreements} images: see --disagree")
    if summary.remarks:
        lines.append(f"  remarks   on {summary.remarks} usable images: see the column reason")
    lines += [f"  unknown   {name} of {count} images" for name, count in summary.unknown.items()]
    lines += [*cut_report(cut), f"Time        {summary.seconds:.1f} s"]
    if skipped or summary.remarks:
        lines.append(f"Reasons     {cut.folder.parent / 'images.csv'}")
    return lines
