"""Who is who in a build: the rule for patients is looked at, and every person gets the one id that the root has."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nlbs.manifests.people.patients import Held, HeldPatient, united
from nlbs.manifests.people.pseudonyms import Pseudonyms
from nlbs.manifests.people.rule import PatientRule, check_patients
from nlbs.manifests.people.same_id import spellings
from nlbs.manifests.tables.dialect import Dialect
from nlbs.manifests.tables.rows import ImageRow
from nlbs.paths import AnyPath
from nlbs.preprocess.root.tables import plain_cell, read_image_rows, read_source_rows
from nlbs.shards.format.layout import IMAGES_CSV, SOURCES_CSV, shard_sets_in

if TYPE_CHECKING:
    from nlbs.preprocess.root.intake import BuildOptions


def settled_patients(
    rows: Sequence[ImageRow], dialect: Dialect, options: "BuildOptions", pseudonyms: Pseudonyms
) -> tuple[tuple[ImageRow, ...], tuple[str, ...]]:
    """Return the rows of a build with one id per person, and notes on people whose id is written in several ways.

    Args:
        rows: of the tables, with their files.
        dialect: of the tables.
        options: of the build; with ``overwrite`` what the root holds does not count.
        pseudonyms: of the build.

    Raises:
        DatasetError: the rule for patients cannot be right, or ids may be of one person or of two.
    """
    held = Held() if options.overwrite else held_patients(options.out, rows, pseudonyms)
    if not options.trust_patients:
        rule = PatientRule.of(dialect, options.table.patient_column)
        check_patients(rows, rule, alone=not held.patients)
    return united(rows, held, options.similar_ids)


def held_patients(root: AnyPath, rows: Iterable[ImageRow], pseudonyms: Pseudonyms) -> Held:
    """Return the patients of a dataset root whose shard sets stand; nobody where there is none.

    Args:
        root: that a build or an append continues.
        rows: of its table. Where the root came without its sources.csv their usual spellings are looked up among
            the pseudonyms of images.csv.
        pseudonyms: that the root was made with.

    Raises:
        DatasetError: a table of the root is damaged.
    """
    if not (root / IMAGES_CSV).is_file() or not shard_sets_in(root):
        return Held()
    if not (root / SOURCES_CSV).is_file():
        return _by_pseudonym(root, rows, pseudonyms)
    held: dict[str, HeldPatient] = {}
    # Rows of sources.csv beyond those of images.csv are of a run that ended between the two files.
    both = zip(read_image_rows(root), read_source_rows(root), strict=False)
    for line, (image, source) in enumerate(both, start=2):
        name, split = plain_cell(source.get("patient") or ""), image.get("split") or ""
        if name and image.get("patient") and (name not in held or not held[name].split):
            held[name] = HeldPatient(line, split)
    return Held(str(root / SOURCES_CSV), held)


def _by_pseudonym(root: AnyPath, rows: Iterable[ImageRow], pseudonyms: Pseudonyms) -> Held:
    known: dict[str, HeldPatient] = {}
    for line, row in enumerate(read_image_rows(root), start=2):
        if row.get("patient"):
            known.setdefault(row["patient"], HeldPatient(line, row.get("split") or ""))
    names = {row.patient for row in rows if row.problem is None and row.patient is not None}
    held = {
        name: known[pseudonyms.patient(name)]
        for written in names
        for name in (written, *spellings(written))
        if pseudonyms.patient(name) in known
    }
    return Held(str(root / IMAGES_CSV), held)
