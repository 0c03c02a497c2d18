"""From the archive to files on disk."""
