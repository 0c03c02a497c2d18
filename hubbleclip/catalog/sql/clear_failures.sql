-- Delete the earlier failures of items that have not failed again.
DELETE FROM attempt WHERE entity = $entity AND stage = $stage AND entity_id IN (SELECT unnest($ids::VARCHAR[]));
DELETE FROM rejection WHERE entity = $entity AND stage = $stage AND entity_id IN (SELECT unnest($ids::VARCHAR[]));
