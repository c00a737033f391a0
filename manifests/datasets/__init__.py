"""The public datasets, one declaration each. A new one is a file here and a line below."""

from nlbs.manifests.datasets.cbis_ddsm import CBIS_DDSM
from nlbs.manifests.datasets.chestxray14 import CHESTXRAY14
from nlbs.manifests.datasets.cmmd import CMMD
from nlbs.manifests.datasets.embed import EMBED
from nlbs.manifests.datasets.inbreast import INBREAST
from nlbs.manifests.datasets.mini_mias import MINI_MIAS
from nlbs.manifests.datasets.nlbs import NLBS, NLBS_DAMAGED, NLBS_GUIDE, PREPARED
from nlbs.manifests.datasets.rsna import RSNA
from nlbs.manifests.datasets.vindr_mammo import VINDR_MAMMO

DIALECTS = (
    NLBS,
    NLBS_GUIDE,
    NLBS_DAMAGED,
    PREPARED,
    VINDR_MAMMO,
    RSNA,
    CBIS_DDSM,
    CMMD,
    EMBED,
    INBREAST,
    CHESTXRAY14,
    MINI_MIAS,
)
