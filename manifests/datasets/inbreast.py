"""INbreast (Moreira et al., Academic Radiology 19:236): INbreast.csv, or the sheet saved as CSV."""

from nlbs.manifests.conditions import parse_flag
from nlbs.manifests.tables.dialect import Dialect, Rule
from nlbs.manifests.tables.extras import joined, parse_birads


def proven_cancer(birads: str) -> bool | None:
    """Return True for BI-RADS 6, which by definition is a malignancy proven by biopsy; others prove nothing."""
    return True if parse_birads(birads) == "6" else None


def marked(*cells: str) -> str | None:
    """Return the kinds of finding whose column has a mark."""
    kinds = ("Mass", "Micros", "Distortion", "Asymmetry")
    return joined(kind for kind, cell in zip(kinds, cells, strict=True) if parse_flag(cell))


INBREAST = Dialect(
    key="inbreast",
    name="INbreast",
    path="File Name",  # "22678622", the beginning of "22678622_<hash>_MG_R_CC_ANON.dcm"
    conditions={
        "laterality": "Laterality",
        "view": "View",
        "age_years": "Patient age",
        "cancer": Rule(("Bi-Rads",), proven_cancer),
    },
    patient_token=2,
    extras={
        "density": "ACR",
        "birads": "Bi-Rads",
        "findings": Rule(("Mass ", "Micros", "Distortion", "Asymmetry"), marked),
    },
    files="token",
    empty_is_no_row="File Name",  # the totals at the end
)
