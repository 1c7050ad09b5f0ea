"""Parts of the text engine: day indexes, log lines, and the query language with its two compilers."""
