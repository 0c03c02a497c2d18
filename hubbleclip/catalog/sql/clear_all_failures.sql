-- Make all failed items pending now: those that wait for a retry, and those rejected after too many.
DELETE FROM attempt;
DELETE FROM rejection WHERE stage IN ('fetch', 'proposals') OR (entity = 'proposal' AND stage = 'products') OR (stage = 'colour' AND reason = 'settings') OR reason LIKE 'contract:%';
