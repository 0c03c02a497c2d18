-- Model, dataset and time of promotion of the run that answers searches, and whether the archive is simulated.
SELECT r.model, r.dataset_digest,
       (SELECT max(decided_at) FROM promotion WHERE run_id = $run_id AND is_promoted) AS promoted_at,
       EXISTS (FROM proposal WHERE archive = 'simulated') AS is_simulated
FROM (SELECT 1) LEFT JOIN run r ON r.run_id = $run_id
