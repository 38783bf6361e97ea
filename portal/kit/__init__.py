"""What screens share: presenters, forms, formatting."""
