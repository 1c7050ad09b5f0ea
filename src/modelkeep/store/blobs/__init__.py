"""Content-addressed files in DVC's cache layout: kept once, verified, linked into workspaces."""
