"""The Emory Breast Imaging Dataset (Jeong et al., Radiology AI 5:e220047): the metadata and the clinical table."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from nlbs.manifests.conditions import parse_flag
from nlbs.manifests.tables.dialect import Companion, Dialect, Rule, words

_CANCER = {"0": True, "1": True, "2": False, "3": False, "4": False, "5": False, "6": None}

#: FinalImageType: an exposure, a view computed from tomosynthesis, screens saved with regions drawn into them.
_IMAGE_TYPES = {
    **dict.fromkeys(("2D",), "standard"),
    **dict.fromkeys(("cview", "c-view", "c view"), "synthetic_2d"),
    **dict.fromkeys(("3D", "DBT", "tomo"), "tomosynthesis"),
    **dict.fromkeys(("ROI", "ROI_SS", "ROI_SSC"), "secondary_capture"),
    **dict.fromkeys(("other",), None),
}

Row = Mapping[str, str]


def spot_or_magnified(text: str) -> str | None:
    """Return "spot" where spot_mag says that a view is one of the two: which, the header says."""
    return "spot" if parse_flag(text) else None


def below_cohort(path: str) -> str:
    """Return the path from "cohort_1/" on: what stands before it is Emory's own disk."""
    return re.sub(r"^.*?(?=cohort_\d+[\\/])", "", path.strip())


def by_breast(rows: Sequence[Row]) -> Mapping[tuple[str, ...], Sequence[Row]]:
    """Return the findings of each (exam, side): side B or blank is both. Whether a screen was false is added."""
    false = _false_positives(rows)
    found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        for side in _sides(row):
            exam = (row["acc_anon"].strip(), side)
            found[exam].append({**row, "false_positive": false.get(exam, "")})
    return found


def _false_positives(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Return "1" for a screen read A whose next exam of that breast was read negative or benign, "0" where cancer came.

    A screen read negative or benign is "0" too. All others are not known.
    """
    exams: dict[tuple[str, str], dict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for side in _sides(row):
            when = (row["study_date_anon"].strip(), row["acc_anon"].strip())
            exams[row["empi_anon"].strip(), side][when].append(row)
    result = {}
    for (_, side), by_date in exams.items():
        ordered = sorted(by_date)
        for now, following in zip(ordered, [*ordered[1:], None], strict=True):
            verdict = _verdict(by_date[now], [] if following is None else by_date[following])
            if verdict:
                result[now[1], side] = verdict
    return result


def _verdict(screen: Sequence[Row], following: Sequence[Row]) -> str:
    if not any("screen" in row["desc"].lower() for row in screen):
        return ""
    read, then = _read(screen), _read(following)
    if _is_cancer(screen) or (_is_cancer(following) and "A" in read):
        return "0"
    if "A" in read:
        return "1" if then and then <= {"N", "B"} else ""
    return "0" if read and read <= {"N", "B"} else ""


def _is_cancer(rows: Sequence[Row]) -> bool:
    return any(_severity(row["path_severity"]) in ("0", "1") for row in rows)


def _read(rows: Sequence[Row]) -> set[str]:
    return {row["asses"].strip().upper() for row in rows} - {"", "NAN"}


def _severity(text: str) -> str:
    return re.sub(r"\.0*$", "", text.strip())


def _sides(row: Row) -> tuple[str, ...]:
    side = row["side"].strip().upper()[:1]
    return (side,) if side in ("L", "R") else ("L", "R")


EMBED = Dialect(
    key="embed",
    name="EMBED",
    path=Rule(("anon_dicom_path",), below_cohort),
    conditions={
        "laterality": "ImageLateralityFinal",
        "view": "ViewPosition",
        "age_years": "age_at_study",
        "cancer": Rule(("path_severity",), lambda text: words(_CANCER)(_severity(text))),
        "false_positive": "false_positive",
    },
    patient="empi_anon",
    extras={"density": "tissueden", "birads": "asses"},
    kinds=(Rule(("FinalImageType",), words(_IMAGE_TYPES)), Rule(("spot_mag",), spot_or_magnified)),
    lesions=True,
    companion=Companion(
        name="clinical table",
        columns=("empi_anon", "acc_anon", "study_date_anon", "desc", "tissueden", "asses", "side", "path_severity",
                 "age_at_study"),
        key=("acc_anon", "ImageLateralityFinal"),
        gives=("tissueden", "asses", "path_severity", "age_at_study", "false_positive"),
        index=by_breast,
    ),
)  # fmt: skip
