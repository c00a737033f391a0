"""VinDr-Mammo (Nguyen et al., Scientific Data 10:277): breast-level_annotations.csv, finding_annotations.csv or both.

It has no ages (the DICOM headers have) and no pathology: BI-RADS 5 stands for cancer in published work, which is a
suspicion, so cancer stays unknown here and ``--keep birads`` takes the assessment along.
"""

from nlbs.manifests.tables.dialect import Dialect

VINDR_MAMMO = Dialect(
    key="vindr-mammo",
    name="VinDr-Mammo",
    path="images/{study_id}/{image_id}.dicom",
    conditions={"laterality": "laterality", "view": "view_position"},
    patient="study_id",  # one study per patient
    extras={
        "density": "breast_density",
        "birads": "breast_birads",
        "findings": "finding_categories",
        "dataset_split": "split",
    },
    lesions=True,
    files="name",
)
