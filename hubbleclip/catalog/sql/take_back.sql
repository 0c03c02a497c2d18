-- Make the items pending that were rejected, or wait for a retry, for one of some reasons.
-- $works are entity and stage of the rejections without which an item is pending again.
DELETE FROM attempt WHERE list_contains($reasons, error);
DELETE FROM rejection WHERE list_contains($reasons, reason) AND list_contains($works, entity || '/' || stage);
