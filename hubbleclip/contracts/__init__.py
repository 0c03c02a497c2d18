"""Read tables, columns and rules from the data contracts, and check rows against them."""
