"""Base registries and data exchange, and who saw my data."""
