"""The history of the tables in `store.tables`; `store.entries` runs it at open."""
