"""The DuckDB catalog, its migrations, and what is pending in it."""
