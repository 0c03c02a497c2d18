-- Make the items pending that were rejected, or wait for a retry, for one of some reasons.
DELETE FROM attempt WHERE list_contains($reasons, error);
DELETE FROM rejection WHERE list_contains($reasons, reason);
