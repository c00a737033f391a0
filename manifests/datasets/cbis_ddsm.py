"""CBIS-DDSM (Lee et al., Scientific Data 4:170177): the mass and calc tables, train and test; one row per lesion."""

import re

from nlbs.manifests.tables.dialect import Dialect, Rule, always, words


def split_of(path: str) -> str | None:
    """Return the dataset's own split, which stands in the path alone: "Mass-Training_P_00001_LEFT_CC/..."."""
    match = re.search(r"(?:Mass|Calc)-(Training|Test)_", path)
    return {"Training": "train", "Test": "test"}[match[1]] if match else None


CBIS_DDSM = Dialect(
    key="cbis-ddsm",
    name="CBIS-DDSM",
    path="image file path",
    conditions={
        "laterality": "left or right breast",
        "view": "image view",
        "cancer": Rule(
            ("pathology",), words({"MALIGNANT": True, "BENIGN": False, "BENIGN_WITHOUT_CALLBACK": False})
        ),
    },
    patient="patient_id",
    extras={
        "density": "breast_density",  # "breast density" in the calc tables
        "birads": "assessment",
        "findings": "abnormality type",
        "dataset_split": Rule(("image file path",), split_of),
    },
    kinds=(always("standard"),),  # whole films, which their files call secondary captures
    lesions=True,
    files="folder",
)
