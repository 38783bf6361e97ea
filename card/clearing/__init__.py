"""Files, matching, netting, positions, settlement, breaks, disputes."""
