"""Pictures and pages for people: contact sheets with captions, PNG files, HTML pages with pixels inside."""

import base64
import importlib.resources
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from nlbs.files import atomic_file
from nlbs.paths import AnyPath

_MARGIN_PX = 6
_LINE_PX = 13
_MOST_SHOWN = 32  # in a notebook


#: Of red, green and blue, in thousandths (Rec. ITU-R BT.601).
_LUMINANCE = (299, 587, 114)


def luminance(colours: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the luminance of red, green and blue, (..., 3) unsigned, of their type; equal ones keep their value."""
    weighted = colours @ np.array(_LUMINANCE, np.int32)
    found: npt.NDArray[Any] = ((weighted + 500) // 1000).astype(colours.dtype)
    return found


def as_uint8(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return uint8 or uint16 display values as uint8."""
    return pixels.astype(np.uint8) if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)


def contact_sheet(
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    columns: int = 8,
    tile_px: int = 160,
    title: str = "",
) -> npt.NDArray[np.uint8]:
    """Return one page with every image, its caption below it.

    Args:
        images: uint8, each (H, W) grey or (H, W, 3) RGB; scaled to fit a square tile.
        captions: one per image, lines separated by newlines.
        columns: tiles in a row.
        tile_px: edge of a tile in pixels.
        title: a line at the top, left out when empty.

    Returns:
        uint8, (H, W, 3) RGB.
    """
    font = ImageFont.load_default(size=11)
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    texts = [_wrapped(caption, font, tile_px) for caption in captions]
    text_px = _LINE_PX * max((text.count("\n") + 1 for text in texts if text), default=0)
    head_px = 22 if title else 0
    cell_w, cell_h = tile_px + _MARGIN_PX, tile_px + text_px + _MARGIN_PX
    page = Image.new("RGB", (columns * cell_w + _MARGIN_PX, rows * cell_h + _MARGIN_PX + head_px), "#202020")
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN_PX, 4), title, font=ImageFont.load_default(size=13), fill="white")
    for index, (image, text) in enumerate(zip(images, texts, strict=True)):
        x = _MARGIN_PX + index % columns * cell_w
        y = _MARGIN_PX + head_px + index // columns * cell_h
        tile = Image.fromarray(image)
        scale = tile_px / max(tile.size)
        size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
        resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
        page.paste(tile.resize(size, resample), (x, y))
        draw.multiline_text((x, y + tile_px + 1), text, font=font, fill="#d0d0d0", spacing=1)
    return np.asarray(page)


def _wrapped(caption: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width_px: int) -> str:
    """Return a caption whose lines are no wider, broken after commas: what is cut off might be what says "unknown"."""
    lines: list[str] = []
    # Spaces of this font are hardly seen.
    for line in caption.replace(" ", "  ").split("\n"):
        parts = line.split(",  ")
        held = parts[0]
        for part in parts[1:]:
            if font.getlength(f"{held},  {part}") <= width_px:
                held = f"{held},  {part}"
            else:
                lines.append(f"{held},")
                held = part
        lines.append(held)
    return "\n".join(_fitting(line, font, width_px) for line in lines)


def _fitting(line: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width_px: int) -> str:
    """Return as much of a line as is no wider, so that it does not run into the next tile."""
    if font.getlength(line) <= width_px:
        return line
    return next(
        (line[:end] + "…" for end in range(len(line), 0, -1) if font.getlength(line[:end] + "…") <= width_px),
        "",
    )


def write_png(path: AnyPath, image: npt.NDArray[np.uint8], text: dict[str, str] | None = None) -> None:
    """Write a uint8 image, (H, W) or (H, W, 3), as PNG, with ``text`` as its tEXt/iTXt metadata."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    with atomic_file(path) as file:
        Image.fromarray(image).save(file, format="PNG", pnginfo=info)


def picture_uri(image: npt.NDArray[np.uint8], most_px: int = 320) -> Markup:
    """Return a picture as a data URI; arguments as of :func:`png_bytes`."""
    return Markup("data:image/png;base64," + base64.b64encode(png_bytes(image, most_px)).decode())  # noqa: S704


def png_bytes(image: npt.NDArray[np.uint8], most_px: int = 320, quick: bool = False) -> bytes:
    """Return a picture as a PNG file, at most ``most_px`` in each direction.

    Args:
        image: uint8, (H, W) grey or (H, W, 3) RGB.
        most_px: larger pictures are averaged down.
        quick: a larger file, sooner.
    """
    picture = Image.fromarray(image)
    scale = min(1.0, most_px / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, format="PNG", **({"compress_level": 1} if quick else {"optimize": True}))
    return file.getvalue()


def sheet_html(images: Sequence[npt.NDArray[Any]], captions: Sequence[str], title: str) -> str:
    """Return a contact sheet as HTML for a notebook: one picture, inside.

    Args:
        images: uint8 or uint16, (H, W) or (H, W, 3) each; the first 32 are shown.
        captions: one per image.
        title: above them.
    """
    shown = [as_uint8(image) for image in images[:_MOST_SHOWN]]
    if len(images) > len(shown):
        title = f"{title}: the first {len(shown)}"
    sheet = contact_sheet(shown, captions[: len(shown)], title=title)
    return Markup('<img alt="{}" src="{}">').format(title, picture_uri(sheet, max(sheet.shape)))


def table_html(title: str, rows: Mapping[str, object]) -> str:
    """Return names and values as HTML for a notebook."""
    row = Markup("<tr><th style='text-align:left'>{}</th><td style='text-align:left'>{}</td></tr>")
    body = Markup("").join(row.format(name, value) for name, value in rows.items())
    return Markup("<strong>{}</strong><table>{}</table>").format(title, body)


def html_page(package: str, finalize: Callable[[Any], Any], **values: Any) -> str:
    """Return the page that ``page.html.j2`` of a package makes of values, each as ``finalize`` writes it, escaped.

    Templates name one another by package and file: "nlbs.preprocess.report/counts.html.j2".
    """
    return str(_environment(finalize).get_template(f"{package}/page.html.j2").render(values))


@cache
def _environment(finalize: Callable[[Any], Any]) -> Any:
    import jinja2  # not for those who write pictures alone

    def text_of(name: str) -> str:
        package, _, file = name.rpartition("/")
        return importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8")

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(text_of),
        autoescape=True,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
