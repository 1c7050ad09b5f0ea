"""Data by their content: streams that only grow, partitions, and what differs between two tables."""
