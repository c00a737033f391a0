"""The Chinese Mammography Database (Cui et al., TCIA 2021): CMMD_clinicaldata_revision saved as CSV; a row per breast.

Files are found by the patient's folder and the side in their headers, which hold the view too.
"""

from nlbs.manifests.tables.dialect import Dialect, Rule, words

CMMD = Dialect(
    key="cmmd",
    name="CMMD",
    path="ID1",
    conditions={
        "laterality": "LeftRight",
        "age_years": "Age",
        "cancer": Rule(("classification",), words({"Malignant": True, "Benign": False})),  # both by biopsy
    },
    patient="ID1",
    extras={"findings": "abnormality"},
    files="breast",
)
