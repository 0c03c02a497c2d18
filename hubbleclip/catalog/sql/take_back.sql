-- Make items pending again that were rejected, or wait for a retry, for one of the reasons $reasons.
-- $works has the entity and the stage of the rejections that may be deleted, because their items are then pending.
DELETE FROM attempt WHERE list_contains($reasons, error);
DELETE FROM rejection WHERE list_contains($reasons, reason) AND list_contains($works, entity || '/' || stage);
