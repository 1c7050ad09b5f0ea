"""What lies at a path now: scanned, compared with what was seen before, hashed where it is new."""
