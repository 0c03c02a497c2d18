-- Delete the earlier failures of items that no longer wait for a retry.
DELETE FROM attempt WHERE entity = $entity AND stage = $stage AND list_contains($ids, entity_id);
