"""Sources of configuration, one file each; `plugin` on its last line registers it."""
