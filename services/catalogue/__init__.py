"""Service items: versioned definitions, forms, eligibility, fees, evidence, clocks."""
