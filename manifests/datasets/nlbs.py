"""NL-Breast-Screening, Newfoundland and Labrador (Kendall et al., Scientific Data 12:1479), in four forms."""

from dataclasses import replace

from nlbs.manifests.tables.dialect import Dialect

NLBS = Dialect(
    key="nlbs",
    name="NLBS",
    path="File Path",
    conditions={
        "laterality": "Image Laterality",
        "view": "View Position",
        "age_years": "Age",
        "cancer": "Cancer",
        "false_positive": "False Positive",
    },
    patient_part=2,
)

NLBS_GUIDE = Dialect(
    key="nlbs-guide",
    name="NLBS as in the guide",
    path="File Path",
    conditions={
        "view": "View",
        "laterality": "Laterality",
        "age_years": "Age",
        "cancer": "Cancer",
        "false_positive": "False Positive",
    },
    patient_part=2,
)

#: All separators lost: "abnormal\1094\left\CC\IM-0019-0002-0001.dcmLCC6600". Without an age two digits are left.
NLBS_DAMAGED = replace(
    NLBS,
    key="nlbs-damaged",
    name="NLBS without separators",
    line=r"(?P<File_Path>.+\.dcm)(?P<Image_Laterality>[LR])(?P<View_Position>CC|MLO|ML|LM|LMO|XCCL|XCCM|AT|FB)"
    r"(?P<Age>\d\d)?(?P<Cancer>[01])(?P<False_Positive>[01])",
)

PREPARED = Dialect(
    key="prepared",
    name="prepared",
    path="out_path",
    conditions={
        "view": "view",
        "laterality": "laterality",
        "age_bin": "age_bin",
        "cancer": "cancer",
        "false_positive": "false_positive",
    },
)
