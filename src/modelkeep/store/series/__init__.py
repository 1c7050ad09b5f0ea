"""Parts of the series engine: heads in memory, sealed blocks in tiles, the index of labels."""
