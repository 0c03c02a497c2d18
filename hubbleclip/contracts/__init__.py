"""Tables, columns and rules, read from the data contracts."""
