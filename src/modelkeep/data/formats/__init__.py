"""DVC's files as text and values: metafiles, manifests, lock files, settings, ignore files; and our side file."""
