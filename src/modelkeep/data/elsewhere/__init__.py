"""Tracked data at other revisions and in other repositories."""
