"""Captions, which are written from the abstracts of proposals by rules or by a language model."""
