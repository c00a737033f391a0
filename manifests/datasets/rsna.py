"""RSNA Screening Mammography Breast Cancer Detection (2022): train.csv."""

from nlbs.manifests.tables.dialect import Dialect

RSNA = Dialect(
    key="rsna",
    name="RSNA Screening",
    path="{patient_id}/{image_id}.dcm",
    conditions={"laterality": "laterality", "view": "view", "age_years": "age", "cancer": "cancer"},
    patient="patient_id",
    extras={"density": "density", "birads": "BIRADS"},
    files="name",
)
