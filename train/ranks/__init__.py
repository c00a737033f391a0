"""Several processes as one run: agreement, sums, watching each other, BatchNorm over all of them."""
