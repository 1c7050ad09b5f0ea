"""Models as versions: a registry of git tags that GTO reads too, what each version was made of, and loading one."""
