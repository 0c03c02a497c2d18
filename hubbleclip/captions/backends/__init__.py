"""Backends, which turn the abstract of a proposal into an answer under the schema."""
