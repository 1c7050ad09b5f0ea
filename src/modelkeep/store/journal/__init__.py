"""The journal: what is acknowledged is here first, and every engine reads it."""
