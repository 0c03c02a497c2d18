"""The stage `tiles`, which cuts files into tiles."""
