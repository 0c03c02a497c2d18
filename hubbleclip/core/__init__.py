"""What every room needs: errors, records, file names, file writing."""
