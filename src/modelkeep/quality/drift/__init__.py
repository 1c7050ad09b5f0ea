"""Drift measures, one file each."""
