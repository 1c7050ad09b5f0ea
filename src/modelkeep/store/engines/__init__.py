"""Engines: readers of the journal that keep shapes and answer for them."""
