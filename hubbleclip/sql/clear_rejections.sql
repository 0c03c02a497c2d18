DELETE FROM rejection WHERE entity = $entity AND stage = $stage AND list_contains($ids, entity_id)
