from nlbs.cvae import ConditionalVAE as ConditionalVAE
from nlbs.generate.generator import Generator as Generator
from nlbs.shards import open_shards as open_shards
from nlbs.train import PatchStream as PatchStream

__version__: str
