"""Charts inside a page: histograms as SVG. Nothing is fetched from anywhere."""

from collections.abc import Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _FOOT = 320, 110, 16  # pixels of a chart; the foot holds the axis' labels


def histogram_svg(counts: Sequence[int], low: str, high: str, label: str) -> Markup:
    """Return a bar chart: one bar per count, the ends of the axis labelled, the height relative to the largest.

    Args:
        counts: of equal bins from left to right.
        low, high: what stands under the first and the last bin.
        label: what the chart shows, for readers who hear it.
    """
    top, width = max(max(counts, default=0), 1), _WIDTH / max(1, len(counts))
    bars = "".join(
        f'<rect x="{number * width:.1f}" y="{_HEIGHT - height:.1f}" width="{max(0.5, width - 0.6):.1f}" '
        f'height="{height:.1f}"/>'
        for number, height in enumerate(_HEIGHT * count / top for count in counts)
        if height
    )
    return Markup(  # noqa: S704  # numbers of ours, and texts escaped
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" '
        f'width="{_WIDTH}" height="{_HEIGHT + _FOOT}">{bars}'
        f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>'
        f'<text x="0" y="{_HEIGHT + 13}">{escape(low)}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 13}" text-anchor="end">{escape(high)}</text></svg>'
    )
