"""Numbers as spreadsheets of much of Europe write them: "60,0" is 60.0."""

import re

#: Two digits behind the comma, or more that are all 0 or not three: "1,000" alone may be a thousand.
_COMMA = re.compile(r"\s*([+-]?\d{1,9}),(\d{1,2}|0+|\d{4,15})\s*")


def with_point(cell: str) -> str:
    """Return a number with a decimal comma as one with a point, a whole one without; else the cell as it is."""
    match = _COMMA.fullmatch(cell)
    if match is None:
        return cell
    part = match[2].rstrip("0")
    return f"{match[1]}.{part}" if part else match[1]
