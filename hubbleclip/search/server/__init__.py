"""Search over HTTP: pages for people, an API for programs, a Simple Cone Search for the Virtual Observatory."""
