"""Read, write and migrate the DuckDB catalog, and query it for pending work."""
