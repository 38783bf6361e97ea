"""Coverage, catalogues, filings, claims."""
