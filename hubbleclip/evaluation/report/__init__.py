"""The evaluation report: one HTML page with figures, its metrics and the embeddings."""
