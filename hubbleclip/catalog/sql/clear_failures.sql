-- Delete the earlier failures of items that have succeeded or are rejected.
DELETE FROM attempt WHERE entity = $entity AND stage = $stage AND list_contains($ids, entity_id);
DELETE FROM rejection WHERE entity = $entity AND stage = $stage AND list_contains($ids, entity_id);
