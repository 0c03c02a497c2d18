"""Evaluation: how well a model retrieves texts for images and images for texts, on proposal groups outside training."""
