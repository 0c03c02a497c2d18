"""The DuckDB catalog, its migrations, and the queries for pending work."""
