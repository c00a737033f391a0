"""What a person can be, held against what a rule gives as patients: names, numbers of images, ages, classes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nlbs.manifests.conditions import LATERALITIES, PARSERS, VIEWS
from nlbs.manifests.people.nobody import is_no_patient, is_placeholder
from nlbs.manifests.tables.dialect import Dialect, Rule, rule_of
from nlbs.manifests.tables.dialects import simplified
from nlbs.manifests.tables.rows import ImageRow
from nlbs.text import counted

_EXAM = re.compile(
    r"(?:exam|examination|visit|study|series|session|scan|round|year|screen|timepoint|t|s|e|v)?\d{1,2}"
    r"|(?:19|20)\d\d(?:\d\d){0,2}|\d+(?:\.\d+){4,}",
    re.IGNORECASE,
)
_FILE = re.compile(r"\.(?:dcm|dicom|dic|ima|png|pgm|tiff?|jpe?g|jp2)$", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_YEAR = re.compile(r"(?:19|20)\d\d")

#: Images that no half of a table is of people who have more: a screen is four, yearly from 40 to 65 a hundred.
MOST_IMAGES = 100
#: Images of one class alone that no half of a table is of people who have more: their other breast is healthy.
MOST_OF_ONE_CLASS = 60
#: Images of any one person, with every recall, copy and follow-up; ChestX-ray14 has one of 184.
MOST_OF_ANYBODY = 500
#: Images of the only person of a table: six screens of four views. Who is alone cannot be divided into splits.
MOST_OF_ONE_PERSON = 24
#: Images of each person where there are as many as classes: two screens of four views.
MOST_OF_A_CLASS = 8
#: Years between the first and the last image of a person: digital mammography is about as old.
MOST_YEARS = 25
#: Images that a placeholder may name: one screen of one person whose name was taken off.
MOST_OF_A_PLACEHOLDER = 4
#: Beyond these so many people are no handful.
_A_HANDFUL = 12


@dataclass(frozen=True)
class PatientRule:
    """What says who the patient is."""

    words: str  #: for messages: "folder 2 of the path"
    columns: tuple[str, ...] = ()  #: that name the patient, as the rule names them
    part: int | None = None  #: folder of the path, from 1
    said: tuple[str, ...] = ()  #: columns that the table's conditions are read from

    @classmethod
    def of(cls, dialect: Dialect, patient_column: str | None = None) -> "PatientRule":
        """Return the rule of a table's dialect, over which a column may stand that a person named."""
        said = tuple(
            column
            for name, rule in dialect.conditions.items()
            for column in rule_of(rule, PARSERS[name]).columns
        )
        columns: tuple[str, ...] = (patient_column,) if patient_column is not None else ()
        if not columns and dialect.patient is not None:
            columns = rule_of(dialect.patient).columns
        if columns:
            # Of mini-MIAS one column says all.
            own = patient_column is None and isinstance(dialect.patient, Rule)
            return cls(f"the column {', '.join(columns)}", columns, said=() if own else said)
        if dialect.patient_token is not None:
            return cls(f'part {dialect.patient_token} of the file\'s name, between "_"')
        return cls(f"folder {dialect.patient_part} of the path", part=dialect.patient_part)


_Class = tuple[bool | None, bool | None]  #: cancer, false positive
_View = tuple[str | None, str | None]  #: side, view


@dataclass(slots=True)
class Person:
    """What the rows of one patient say."""

    first: int  #: row
    kind: _Class | None  #: of all images; None where they differ
    view: _View | None  #: of all images; None where they differ
    images: int = 0
    youngest: int | None = None
    youngest_row: int = 0
    oldest: int | None = None
    oldest_row: int = 0
    below: frozenset[str] = frozenset()  #: folders below the patient's, of the first few patients


People = dict[str, Person]


def people_of(rows: Sequence[ImageRow], part: int | None) -> People:
    """Return what the usable rows say of each patient.

    Args:
        rows: of all tables.
        part: the folder of the path that names the patient, from 1; None where something else does.
    """
    people: People = {}
    for row in rows:
        if row.problem is not None or row.patient is None:
            continue
        said = row.conditions
        kind, view, age = (said.cancer, said.false_positive), (said.laterality, said.view), said.age_years
        person = people.get(row.patient)
        if person is None:
            person = people[row.patient] = Person(row.row, kind, view)
        person.images += 1
        if person.kind != kind:
            person.kind = None
        if person.view != view:
            person.view = None
        if age is not None:
            if person.youngest is None or age < person.youngest:
                person.youngest, person.youngest_row = age, row.row
            if person.oldest is None or age > person.oldest:
                person.oldest, person.oldest_row = age, row.row
        if part is not None and len(people) <= _A_HANDFUL and len(person.below) <= _A_HANDFUL:
            person.below = person.below.union(folders_of(row.path)[part : part + 1])
    return people


def folders_of(path: str) -> list[str]:
    """Return the folders of a path, as ``--patient-part`` counts them."""
    return [name for name in path.split("/")[:-1] if name not in ("", ".")]


def _called_like_no_patient(people: People, rule: PatientRule) -> str | None:
    """A class, side, view, split, dataset or folder of files is called like that, and no person."""
    words = [name for name in people if is_no_patient(name)]
    # A column may have one odd name among ids; a folder or a part of a name is then another layout.
    if rule.columns and len(words) < len(people):
        return None
    # But one folder of one file, among a few others, is somebody's who is called like that.
    if 2 * len(words) < len(people) <= _A_HANDFUL:
        words = [name for name in words if people[name].images > 1 or people[name].below]
    if not words:
        return None
    shown = ", ".join(repr(name) for name in sorted(words)[:5])
    images = sum(people[name].images for name in words)
    return f"that is nobody's id in {counted(images, 'row')}, for example in row {people[words[0]].first}: {shown}"


def _says_something_else(people: People, rule: PatientRule) -> str | None:
    """A column from which a condition is read says what an image shows, not of whom it is."""
    said = {simplified(column) for column in rule.said}
    if len(people) > 1 and rule.columns and all(simplified(column) in said for column in rule.columns):
        return "that column says what the images show (view, side, age, cancer), not of whom they are"
    return None


def _is_a_side_or_view(people: People, rule: PatientRule) -> str | None:
    """Name that hold a side and a view are those of images: a person would be four."""
    if len(people) < 2:
        return None
    holding = [name for name in people if _has_side_and_view(name)]
    if len(holding) < 0.9 * len(people):
        return None
    return (
        f"that holds a side and a view in {len(holding)} of {len(people)} names, for example in row "
        f"{people[holding[0]].first}: a person's images would be several people's"
    )


def _has_side_and_view(name: str) -> bool:
    parts = {part.upper() for part in re.split(r"[\W_]+", name)}
    return not parts.isdisjoint((*LATERALITIES, "LEFT", "RIGHT")) and not parts.isdisjoint(VIEWS)


def _is_a_file(people: People, rule: PatientRule) -> str | None:
    """A column of files names images: a person would be as many as their images."""
    files = [name for name in people if _FILE.search(name)]
    if len(people) < 2 or not rule.columns or len(files) < 0.9 * len(people):
        return None
    return (
        f"that is the name of a file in {len(files)} of {len(people)} cases, for example in row "
        f"{people[files[0]].first}: a person's images would be several people's"
    )


def _is_a_placeholder(people: People, rule: PatientRule) -> str | None:
    """What stands where an id was taken off is shared by everybody."""
    for name, person in people.items():
        if person.images > MOST_OF_A_PLACEHOLDER and is_placeholder(name):
            return (
                f"{person.images} rows have the same word there, for example row {person.first}, which stands for an "
                "id that was taken off: leave the cell empty where the patient is not known"
            )
    return None


def _holds_folders_of_patients(people: People, rule: PatientRule) -> str | None:
    """A few folders without a number in their name, with numbered ones below, are classes or groups of people."""
    if rule.part is None or not 0 < len(people) <= _A_HANDFUL:
        return None
    for name, person in people.items():
        ids = [folder for folder in person.below if is_id(folder)]
        if (_DIGIT.search(name) and not _YEAR.fullmatch(name)) or len(ids) < 2:
            return None
    person = next(iter(people.values()))
    return (
        f"{'its only name has' if len(people) == 1 else f'each of its {len(people)} names has'} several folders below "
        f"that look like patients, for example in row {person.first}"
    )


def is_id(folder: str) -> bool:
    """Return whether a folder's name may be a patient's: it has a number, and is no word, date, UID or exam."""
    return (
        _DIGIT.search(folder) is not None
        and not is_no_patient(folder)
        and not _EXAM.fullmatch(re.sub(r"[\s_.-]", "", folder) if folder.count(".") < 4 else folder)
    )


def _is_of_very_different_ages(people: People, rule: PatientRule) -> str | None:
    """Where many images are of people who aged by decades, people were put together; one age may be mistyped."""
    known = {name: person for name, person in people.items() if person.youngest is not None}
    apart = [
        person
        for person in known.values()
        if person.youngest is not None
        and person.oldest is not None
        and person.oldest - person.youngest > MOST_YEARS
    ]
    share = sum(person.images for person in apart) / max(sum(person.images for person in known.values()), 1)
    if share < 0.2 or (len(apart) < 2 and share <= 0.5):
        return None
    worst = max(apart, key=lambda person: (person.oldest or 0) - (person.youngest or 0))
    return (
        f"{len(apart)} of {len(people)} patients would be more than {MOST_YEARS} years older in one image than "
        f"in another, say {worst.youngest} in row {worst.youngest_row} and {worst.oldest} in row {worst.oldest_row}"
    )


def _is_a_class(people: People, rule: PatientRule) -> str | None:
    """As many patients as classes, each with one class and more images than two screens, are the classes."""
    classes = {person.kind for person in people.values()}
    if not 2 <= len(people) == len(classes) or None in classes:
        return None
    fewest = min(person.images for person in people.values())
    one_view = fewest >= 3 and all(p.view is not None and None not in p.view for p in people.values())
    if fewest <= MOST_OF_A_CLASS and not one_view:
        return None
    person = next(iter(people.values()))
    return (
        f"there would be {len(people)} patients, one for each class, with {fewest} images or more, for example that of "
        f"row {person.first} with {person.images}"
    )


def _has_more_than_a_person(people: People, rule: PatientRule) -> str | None:
    """More images than a person has, by far or in most of the table."""
    if not people:
        return None
    largest = max(people.values(), key=lambda person: person.images)
    of_half = _images_of_half(people)
    classes = {person.kind for person in people.values()}
    of_one_class = len(classes) > 1 and None not in classes
    example = f"for example the patient of row {largest.first} with {largest.images:,}"
    if of_half > MOST_IMAGES or largest.images > MOST_OF_ANYBODY:
        return f"a patient would have more images than a person has, {example}"
    if of_one_class and of_half > MOST_OF_ONE_CLASS:
        return f"each patient would have images of one class alone, and very many, {example}"
    return None


def _is_one_person(people: People, rule: PatientRule) -> str | None:
    """Who is alone cannot be divided, and a table of one person is a small one."""
    images = sum(person.images for person in people.values())
    if len(people) != 1 or images <= MOST_OF_ONE_PERSON:
        return None
    return f"all {images:,} images would be one person's, who cannot be divided into train and test"


def _images_of_half(people: People) -> int:
    """Return how many images the patients have at least to whom half of the images belong."""
    counts = sorted((person.images for person in people.values()), reverse=True)
    half, seen = sum(counts) / 2, 0
    for count in counts:
        seen += count
        if seen > half:
            return count
    return counts[-1]


LOOKS: tuple[Callable[[People, PatientRule], str | None], ...] = (
    _called_like_no_patient,
    _says_something_else,
    _is_a_side_or_view,
    _is_a_file,
    _is_a_placeholder,
    _holds_folders_of_patients,
    _is_of_very_different_ages,
    _is_a_class,
    _is_one_person,
    _has_more_than_a_person,
)
#: Those that say something of all patients of a dataset alone.
OF_ALL = (_is_a_class, _is_one_person)
