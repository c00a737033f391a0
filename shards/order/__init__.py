"""In which order patches come: permutations, windows, quotas, balance; pure functions of (sizes, seed, epoch)."""
