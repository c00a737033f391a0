"""NIH ChestX-ray14 (Wang et al., CVPR 2017): Data_Entry_2017.csv. Chest X-rays: the body is cut, lungs and all.

Two of its column names have commas in brackets and no quotes, so they split; none of the columns used here does.
"""

from nlbs.manifests.tables.dialect import Dialect

LABELS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)

CHESTXRAY14 = Dialect(
    key="chestxray14",
    name="NIH ChestX-ray14",
    path="Image Index",
    conditions={"age_years": "Patient Age"},
    patient="Patient ID",
    # A projection is no view of a breast.
    extras={"findings": "Finding Labels", "projection": "View Position"},
    files="name",
    foreground="body",
)
