"""The commands of `modelkeep model`, a file for each part."""
