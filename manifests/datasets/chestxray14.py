"""NIH ChestX-ray14 (Wang et al., CVPR 2017): Data_Entry_2017.csv. No mammograms: for work on methods.

Two of its column names have commas in brackets and no quotes, so they split; none of the columns used here does.
"""

from nlbs.manifests.tables.dialect import Dialect, Rule, words

CHESTXRAY14 = Dialect(
    key="chestxray14",
    name="NIH ChestX-ray14",
    path="Image Index",
    # Kept as they are: a model of mammograms sees another view as unknown.
    conditions={
        "view": Rule(("View Position",), words({"PA": "PA", "AP": "AP"})),
        "age_years": "Patient Age",
    },
    patient="Patient ID",
    extras={"findings": "Finding Labels"},
    files="name",
)
