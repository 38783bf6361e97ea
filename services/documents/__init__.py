"""Uploads, certificates issued, public verification."""
