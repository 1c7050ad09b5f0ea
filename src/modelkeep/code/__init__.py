"""Code: which commit runs, and whether the tree was dirty."""
