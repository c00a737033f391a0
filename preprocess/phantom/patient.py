"""The people of a phantom: who they are, what they have, and how their breasts are built."""

from dataclasses import dataclass

import numpy as np

from nlbs.errors import ConfigError

UNKNOWN_AGE_SHARE = 0.05  #: of the patients
OTHER_FOLDER_SHARE = 0.1  #: patients who lie in the folder that their findings do not suggest
#: Places of the patients of fixed fate, so that a small phantom has every label too.
HEALTHY, CANCER, FALSE_POSITIVE, UNKNOWN_AGE = 0, 1, 2, 5


@dataclass(frozen=True)
class Findings:
    """How many patients have something to find, beside those of fixed fate; never both."""

    cancer_share: float = 0.15  #: of the patients, in one breast each
    false_positive_share: float = 0.15

    def __post_init__(self) -> None:
        """Raise ConfigError where these are not shares of one whole."""
        shares = (self.cancer_share, self.false_positive_share)
        if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1:
            raise ConfigError(
                f"shares of {shares[0]:g} with cancer and {shares[1]:g} false positive are asked for; expected 0 to 1 "
                "each, and at most 1 together: no patient has both"
            )


@dataclass(frozen=True)
class Patient:
    """One made-up patient."""

    index: int  #: 0 is the first
    number: str  #: twelve digits, unique within a phantom
    group: str  #: "normal" or "abnormal": a folder's name, which is not the label
    age_years: int  #: 40 to 85
    age_known: bool  #: False: metadata and header do not tell
    density: float  #: share of the breast that is fibroglandular, 0.04 to 0.65
    depth_mm: float  #: nipple to chest wall in CC
    half_height_mm: float  #: half the breast's extent along the chest wall in CC
    cancer_side: str | None  #: "L", "R" or None
    false_positive_side: str | None  #: "L", "R" or None


@dataclass(frozen=True)
class Breast:
    """One breast, in all its views."""

    patient: Patient
    laterality: str  #: "L" or "R"
    density: float
    depth_mm: float
    half_height_mm: float
    cancer: bool
    false_positive: bool
    finding_depth_mm: float  #: distance of a finding behind the nipple, alike in both views
    mass_radius_mm: float | None  #: of a malignant or a benign mass
    calcified: bool  #: a cluster beside the cancer, or coarse benign calcifications


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random generator of one part of a phantom, independent of every other part's.

    ``spawn_key`` and not a longer entropy: numpy pads entropy with zeros, so (seed, 3) and
    (seed, 3, 0) would be the same stream.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def expected_density(age_years: float) -> float:
    """Return the mean share of fibroglandular tissue at an age: 0.42 at 40, 0.10 at 85 years."""
    return 0.42 - 0.0072 * (age_years - 40)


def draw_patient(index: int, generator: np.random.Generator, findings: Findings | None = None) -> Patient:
    """Return the patient at a place in the set; a few places have a fixed fate."""
    findings = findings or Findings()
    number = f"{generator.integers(10_000_000, 100_000_000)}{index:04d}"
    age_years = int(40 + 45 * generator.beta(1.1, 1.4))
    density = expected_density(age_years) + generator.normal(0, 0.05)
    # Older and fatty breasts are larger on the whole.
    depth_mm = float(np.clip(generator.normal(94 - 40 * (density - 0.28), 14), 58, 125))
    half_height_mm = float(np.clip(depth_mm * generator.normal(1.07, 0.07), 66, 128))
    fate, folder, age_fate = generator.random(3)
    side = "LR"[generator.integers(2)]
    if index in (HEALTHY, CANCER, FALSE_POSITIVE):
        cancer, benign = index == CANCER, index == FALSE_POSITIVE
    else:
        cancer = bool(fate < findings.cancer_share)
        benign = not cancer and bool(fate < findings.cancer_share + findings.false_positive_share)
    return Patient(
        index=index,
        number=number,
        group="abnormal" if (cancer or benign) != (folder < OTHER_FOLDER_SHARE) else "normal",
        age_years=age_years,
        age_known=not (age_fate < UNKNOWN_AGE_SHARE or index == UNKNOWN_AGE),
        density=float(np.clip(density, 0.04, 0.65)),
        depth_mm=depth_mm,
        half_height_mm=half_height_mm,
        cancer_side=side if cancer else None,
        false_positive_side=side if benign else None,
    )


def draw_breast(patient: Patient, laterality: str, generator: np.random.Generator) -> Breast:
    """Return one breast of a patient: like the other one up to a few percent, with its own findings."""
    size = generator.normal(1, 0.02)
    density = float(np.clip(patient.density * generator.normal(1, 0.05), 0.03, 0.8))
    depth_mm = patient.depth_mm * size
    cancer = patient.cancer_side == laterality
    false_positive = patient.false_positive_side == laterality
    finding_depth_mm = depth_mm * generator.uniform(0.3, 0.65)
    # 6 to 25 mm across, small ones more often, as screening finds them.
    malignant_mm = float(3 + 9.5 * generator.beta(1.3, 2.0))
    benign_mm = float(generator.uniform(3.5, 9))
    calcified = bool(generator.random() < 0.5)
    mass_radius_mm = malignant_mm if cancer else benign_mm if false_positive and not calcified else None
    return Breast(
        patient=patient,
        laterality=laterality,
        density=density,
        depth_mm=depth_mm,
        half_height_mm=patient.half_height_mm * size * generator.normal(1, 0.015),
        cancer=cancer,
        false_positive=false_positive,
        finding_depth_mm=finding_depth_mm,
        mass_radius_mm=mass_radius_mm,
        calcified=calcified and (cancer or false_positive),
    )
