"""Where blobs are kept elsewhere: one file per kind of remote, `plugin` on its last line."""
