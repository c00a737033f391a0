"""The ``--map`` line for a table that no dialect fits, made of its own header."""

import re
import shlex
from collections.abc import Sequence

from nlbs.manifests.tables.spelling import simplified

_CALLED: dict[str, tuple[str, ...]] = {
    "path": (
        r"(?:full|relative|anon)?(?:image|img|dicom|dcm)?(?:file|dicom|image|img)?path(?:name)?",
        r"(?:image|img|dicom|dcm)?file(?:name)?s?",
        r"(?:image|img|dicom|dcm)(?:name|index|file)",
        r"path(?:to|of)?(?:the)?(?:image|file|dicom|dcm)",
        r"(?:datei|dateiname|bildpfad|pfad|chemin|fichier|ruta|archivo|percorso|bestand|bestandsnaam)",
    ),
    "patient": (
        r"(?:anon|pseudo)?(?:patient|subject|participant|client|person|case|woman)(?:id|nr|n|no|number|key|code)?",
        r"(?:patients|subjects)?(?:pid|mrn|empi|empianon|patid|ptid)",
        r"id(?:patient|paziente|paciente|patiente)|patientennummer|patientnummer",
    ),
    "view": (
        r"(?:image|img|mammo(?:graphic)?)?(?:view|projection)(?:position|code|name|type)?",
        r"(?:ansicht|projektion|incidence|proyeccion|proiezione|vista)",
    ),
    "laterality": (
        r"(?:image|breast|img)?(?:laterality|lateralityfinal)",
        r"(?:image|breast|body)?side|leftright|leftorrightbreast|lr|whichbreast",
        r"(?:seite|lateralite|cote|lado|lateralidad|lateralita|lato|zijde)",
    ),
    "age_years": (
        r"(?:patients?|womans?)?age(?:years?|inyears|y|atstudy|atexam|atscreening|atdiagnosis)?",
        r"(?:alter|edad|eta|leeftijd|idade)",
    ),
    "age_bin": (r"age(?:bin|group|class|category|band)",),
    "cancer": (
        r"(?:is|has|breast)?(?:cancer|malignan(?:t|cy))(?:label|status|outcome|yn|flag|proven|confirmed)?",
        r"(?:krebs|karzinom|maligne|bosartig|cancro|tumore|kanker)",
    ),
    "false_positive": (r"(?:is)?(?:falsepositive|falsepos|fp|recalledbenign)s?",),
    "density": (r"(?:breast|acr|birads)?density|acr",),
    "birads": (r"birads(?:score|category|assessment)?|assessment|breastbirads",),
    "findings": (r"findings?|findingcategories|abnormality(?:type)?",),
    "dataset_split": (r"(?:official|dataset|data)?split|subset|partition",),
}
_FEWEST = 2  # fewer may well be words of a patient's row, where the header is missing


def suggested_map(header: Sequence[str], wanted: Sequence[str] = (), before: str = "") -> str | None:
    """Return the options that say what the columns of a header are, ready to be pasted; None where too few are known.

    Args:
        header: of the table.
        wanted: what is to be named, all of it; empty is whatever is known, with the path.
        before: options that stand before them.
    """
    taken: dict[str, str] = {}
    for name, patterns in _CALLED.items():
        column = _column(header, patterns, set(taken.values())) if not wanted or name in wanted else None
        if column is not None:
            taken[name] = column
    if len(taken) < (len(wanted) or _FEWEST):
        return None
    if "path" not in taken and not wanted:
        taken = {"path": "COLUMN", **taken}
    said = ",".join(f"{name}={column}" for name, column in taken.items())
    return f"{before}--map {shlex.quote(said)}"


def _column(header: Sequence[str], patterns: Sequence[str], taken: set[str]) -> str | None:
    """Return the column that is called most surely so, the first of several; None where there is none."""
    for pattern in patterns:
        named = [name for name in header if name not in taken and _can_be_said(name)]
        found = [name for name in named if re.fullmatch(pattern, simplified(_plain(name)))]
        if found:
            return found[0]
    return None


def _plain(name: str) -> str:
    """Return a name without what stands in brackets, as units do, and without accents of Latin letters."""
    bare = re.sub(r"[(\[].*?[)\]]", "", name)
    return bare.translate(str.maketrans("éèêëàâäáíïîóôöúüûñç", "eeeeaaaaiiiooouuunc"))


def _can_be_said(name: str) -> bool:
    """Return whether --map can name a column: a comma before "word=" and braces have a meaning there."""
    return name.isprintable() and len(name) <= 64 and not re.search(r",\s*\w+\s*=|[{}]", name)
