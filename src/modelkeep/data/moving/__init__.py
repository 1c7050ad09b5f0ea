"""Objects between cache and remotes: what is needed, sent, received, healed, and what nothing needs any more."""
