"""The evaluation report: an HTML page with figures, and a JSON file of the metrics."""
