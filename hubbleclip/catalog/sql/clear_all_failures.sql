-- Make failed items pending now: items that wait for a retry, items rejected after too many retries, and items rejected because
-- of their settings, of a data contract or of a fault of the code.
DELETE FROM attempt;
DELETE FROM rejection WHERE reason <> 'dropped' AND (stage IN ('fetch', 'proposals') OR (entity = 'proposal' AND stage = 'products') OR (stage = 'colour' AND reason = 'settings') OR reason LIKE 'contract:%' OR reason = 'unexpected');
