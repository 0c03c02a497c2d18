"""Backends, which turn the abstract of a proposal into an answer that follows the schema."""
