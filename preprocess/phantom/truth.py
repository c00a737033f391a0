"""What was drawn into each image of a phantom: the rows of its ``truth.csv``."""

from dataclasses import astuple, dataclass, fields

from nlbs.preprocess.phantom.breast import Drawing, View
from nlbs.preprocess.phantom.lesion import Calcification


@dataclass(frozen=True)
class Truth:
    """One image. The fields are the columns of ``truth.csv``; None is an empty cell.

    Positions are in pixels of the stored image, the centre of the first pixel being (0, 0).
    """

    path: str  #: as in ``meta.csv``
    patient: str
    laterality: str
    view: str
    age_years: int  #: the age that shaped the breast, known or not
    age_known: bool
    density: float  #: share of fibroglandular tissue in the breast, muscle left out, 0 to 1
    cancer: bool
    false_positive: bool
    mass_y: float | None  #: centre of the mass, malignant or benign
    mass_x: float | None
    mass_radius: float | None  #: of the mass's body; pixels
    mass_extent: float | None  #: to the tip of the longest spicule; pixels
    calcifications: int
    calcifications_top: int | None  #: the box that holds them; bottom and right are the first line outside
    calcifications_left: int | None
    calcifications_bottom: int | None
    calcifications_right: int | None
    pectoral: bool  #: the pectoral muscle is in the image
    label: bool  #: a view label is burned in
    transfer_syntax: str
    texture_exponent: float
    spacing_mm: float


#: The header of ``truth.csv``.
COLUMNS = tuple(field.name for field in fields(Truth))


def truth_of(view: View, drawing: Drawing, path: str, syntax: str) -> Truth:
    """Return the truth about an image that lies at ``path``, in transfer syntax ``syntax``."""
    breast, finding = view.breast, view.finding
    scale = 1 / drawing.spacing_mm
    columns = drawing.pixels.shape[1]
    mirrored = breast.laterality == "R"
    mass_y = mass_x = radius = extent = None
    if finding.mass is not None:
        x = finding.mass.x_mm * scale - 0.5
        mass_y, mass_x = finding.mass.y_mm * scale - 0.5, columns - 1 - x if mirrored else x
        radius, extent = finding.mass.radius_mm * scale, finding.mass.extent_mm * scale
    top, left, bottom, right = _box(finding.calcifications, drawing, mirrored)
    return Truth(
        path=path,
        patient=breast.patient.number,
        laterality=breast.laterality,
        view=view.view,
        age_years=breast.patient.age_years,
        age_known=breast.patient.age_known,
        density=drawing.density,
        cancer=breast.cancer,
        false_positive=breast.false_positive,
        mass_y=mass_y,
        mass_x=mass_x,
        mass_radius=radius,
        mass_extent=extent,
        calcifications=len(finding.calcifications),
        calcifications_top=top,
        calcifications_left=left,
        calcifications_bottom=bottom,
        calcifications_right=right,
        pectoral=view.anatomy.muscle is not None,
        label=view.label,
        transfer_syntax=syntax,
        texture_exponent=view.texture_exponent,
        spacing_mm=drawing.spacing_mm,
    )


def cells(truth: Truth) -> list[str]:
    """Return the cells of a row of ``truth.csv``, in the order of :data:`COLUMNS`."""
    return [_cell(value) for value in astuple(truth)]


def _cell(value: str | int | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _box(
    dots: tuple[Calcification, ...], drawing: Drawing, mirrored: bool
) -> tuple[int, int, int, int] | tuple[None, None, None, None]:
    """Top, left, bottom, right of the pixels that calcifications change."""
    if not dots:
        return None, None, None, None
    windows = [dot.window(drawing.pixels.shape, drawing.spacing_mm) for dot in dots]
    top, bottom = min(rows.start for rows, _ in windows), max(rows.stop for rows, _ in windows)
    left, right = min(across.start for _, across in windows), max(across.stop for _, across in windows)
    if mirrored:
        columns = drawing.pixels.shape[1]
        left, right = columns - right, columns - left
    return top, left, bottom, right
