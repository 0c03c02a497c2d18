"""Captions that rules or a language model write from the abstracts of proposals."""
