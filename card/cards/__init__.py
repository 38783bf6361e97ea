"""Issue, activate, block, replace, expire; the deny list and its deltas."""
