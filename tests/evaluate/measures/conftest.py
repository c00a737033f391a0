"""What the tests of features share."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, 64, 64), dtype=np.uint8)
