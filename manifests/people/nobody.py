"""Names that are nobody's: of classes, sides, views, splits, datasets, kinds of files, and of ids taken off."""

import re

from nlbs.manifests.conditions import OTHER_VIEWS, VIEWS
from nlbs.manifests.tables.dialects import simplified

_NO_PATIENTS = {
    *(view.casefold() for view in (*VIEWS, *OTHER_VIEWS)),
    *re.findall(
        r"\w+",
        """
        abnormal normal normals benign benigns malignant malignants malignancy cancer cancers noncancer nocancer healthy
        control controls positive negative falsepositive falsepositives falsenegative falsenegatives truepositive
        truenegative fp fn tp tn benignwithoutcallback mass masses calc calcs calcification calcifications lesion
        lesions finding findings nofinding nofindings suspicious biopsy biopsied screening diagnostic recall recalled
        interval unlabeled unlabelled labeled labelled
        l r left right lt rt both bilateral lcc rcc lmlo rmlo leftcc rightcc leftmlo rightmlo ccleft ccright mloleft
        mloright
        train training trainset val valid validation validationset validate dev test testing testset holdout heldout
        split splits
        nlbs nlbreastscreening vindr vindrmammo rsna cbis ddsm cbisddsm cmmd embed inbreast minimias mias csaw csawcc
        optimam omidb bcsdbt kaubcmd chestxray14
        mammo mammogram mammograms mammography image images img imgs dicom dicoms dcm dcms png pngs jpg jpgs jpeg jpegs
        tif tiff pgm data dataset datasets raw processed original originals file files scans patient patients case
        cases subject subjects study studies exam exams series allimages
        """,
    ),
}
#: What stands where a file has nobody's id, simplified.
_PLACEHOLDERS = frozenset(
    re.findall(
        r"\w+",
        """
        anonymous anonymized anonymised anonymize anonymise anon anonym deidentified pseudonym pseudonymized
        pseudonymised redacted hidden masked unidentified unnamed notavailable notknown noname noid patientid patient id
        pid subject xxx xxxx xxxxx missing blank empty undefined default 9999999 99999999 999999999
        """,
    )
)
#: A split, class or volume with its number: "fold3", "batch_02".
_NUMBERED = re.compile(r"(?:fold|split|class|batch|volume|vol|disk|disc|density|birads)(?:\d{1,2}|[a-e])")


def is_no_patient(name: str) -> bool:
    """Return whether a folder of this name is one of a class, side, view, split, dataset or kind of file."""
    plain = simplified(name)
    return plain in _NO_PATIENTS or _NUMBERED.fullmatch(plain) is not None


def is_placeholder(name: str) -> bool:
    """Return whether a word stands for an id that was taken off: "ANONYMOUS"."""
    return simplified(name) in _PLACEHOLDERS
