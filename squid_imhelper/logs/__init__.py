"""Recorded access logs: from files to requests."""
