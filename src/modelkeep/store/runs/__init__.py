"""Sorted runs on disk behind one manifest: what cells and keys are made of."""
