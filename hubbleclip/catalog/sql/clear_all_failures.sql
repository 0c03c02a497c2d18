-- Everything that waits for its next try, or was given up, may be tried at once.
DELETE FROM attempt;
DELETE FROM rejection WHERE stage IN ('fetch', 'proposals') OR (entity = 'proposal' AND stage = 'products') OR (stage = 'colour' AND reason = 'settings') OR reason LIKE 'contract:%';
