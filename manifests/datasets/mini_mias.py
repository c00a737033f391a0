"""mini-MIAS (Suckling et al., 1994): Info.txt, one line per finding, among lines of explanation."""

from nlbs.manifests.tables.dialect import Dialect, Rule, always, words


def side_of(reference: str) -> str:
    """Return the side: films stand in pairs of one woman, "left (even filename numbers) and right (odd)"."""
    return "R" if int(reference[3:]) % 2 else "L"


def pair_of(reference: str) -> str:
    """Return the woman: mdb001 and mdb002 are one pair."""
    return f"pair {(int(reference[3:]) + 1) // 2}"


MINI_MIAS = Dialect(
    key="mini-mias",
    name="mini-MIAS",
    path="{REFNUM}.pgm",
    conditions={
        "view": always("MLO"),  # all of its films are
        "laterality": Rule(("REFNUM",), side_of),
        "cancer": Rule(
            ("CLASS", "SEVERITY"), lambda kind, severity: words({"M": True, "B": False, "NORM": False})(
                "NORM" if kind == "NORM" else severity)
        ),
    },
    patient=Rule(("REFNUM",), pair_of),
    extras={"findings": "CLASS"},
    lesions=True,
    files="name",
    line=r"(?P<REFNUM>mdb\d{3})\s+(?P<BG>[FGD])\s+(?P<CLASS>CALC|CIRC|SPIC|MISC|ARCH|ASYM|NORM)"
    r"(?:\s+(?P<SEVERITY>[BM]))?(?:\s+(?P<X>\d+)\s+(?P<Y>\d+))?.*",
)  # fmt: skip
