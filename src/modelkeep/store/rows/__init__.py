"""Parts of the row engine: recent tables, sealed Parquet behind one manifest, and SQL over both."""
