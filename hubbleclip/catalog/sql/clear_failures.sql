-- Forget the failures of items that are in now, or that are given up.
DELETE FROM attempt WHERE entity = $entity AND stage = $stage AND list_contains($ids, entity_id);
DELETE FROM rejection WHERE entity = $entity AND stage = $stage AND list_contains($ids, entity_id);
