"""The evaluation report: an HTML page with figures, a JSON file of the metrics, and the embeddings of all tiles."""
