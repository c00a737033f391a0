"""What is wrong with a table, all at once: each kind of problem with the rows that have it."""

from collections import defaultdict
from collections.abc import Sequence

from nlbs.manifests.rows import ImageRow


def problems_by_row(rows: Sequence[ImageRow]) -> list[str]:
    """Gives a line per kind of problem, the most frequent first, with the numbers of its rows; no text of cells."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for problem in (*row.notes, *([row.problem] if row.problem else [])):
            found[problem].append(row.row)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"{problem}: {row_list(numbers)}" for problem, numbers in ordered]


def row_list(numbers: Sequence[int], most: int = 8) -> str:
    """Gives row numbers in words: "row 3", "rows 3, 5 and 9", "rows 3, 5, 7 and 20 more"."""
    shown = [str(number) for number in numbers[:most]]
    if len(numbers) == 1:
        return f"row {shown[0]}"
    if len(numbers) <= most:
        return f"rows {', '.join(shown[:-1])} and {shown[-1]}"
    return f"rows {', '.join(shown)} and {len(numbers) - most} more"
