"""The report: one HTML page with figures."""
