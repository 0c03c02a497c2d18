"""Matching captions to pictures: methods that are trained on features of frozen towers."""
