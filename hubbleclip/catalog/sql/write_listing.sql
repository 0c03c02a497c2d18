-- Write the product lists of whole proposals: new_listing has their observations, and new_product has the selected files.
-- A file with a new version in the archive is retried, however often it failed before.
DELETE FROM attempt WHERE entity = 'product' AND stage = 'fetch' AND entity_id IN (
    SELECT uri FROM product p JOIN new_product n USING (uri) WHERE p.archive_version IS DISTINCT FROM n.archive_version);
DELETE FROM rejection WHERE entity = 'product' AND stage = 'fetch' AND reason <> 'dropped' AND entity_id IN (
    SELECT uri FROM product p JOIN new_product n USING (uri) WHERE p.archive_version IS DISTINCT FROM n.archive_version);

-- Columns that describe the fetched content are kept. Content that was fetched before versions were recorded is taken to be of the
-- version that the archive lists now.
INSERT INTO product (uri, obs_id, proposal_id, file_name, kind, size_bytes, choice, archive_version)
SELECT uri, obs_id, proposal_id, file_name, kind, size_bytes, choice, archive_version FROM new_product
ON CONFLICT (uri) DO UPDATE SET
    obs_id = excluded.obs_id, proposal_id = excluded.proposal_id, file_name = excluded.file_name, kind = excluded.kind,
    size_bytes = CASE WHEN archive_version = excluded.archive_version
                      THEN coalesce(excluded.size_bytes, size_bytes) ELSE excluded.size_bytes END, choice = excluded.choice, archive_version = excluded.archive_version,
    fetched_version = CASE WHEN sha256 IS NOT NULL AND archive_version IS NULL AND fetched_version IS NULL
                           THEN excluded.archive_version ELSE fetched_version END,
    superseded_at = NULL;

UPDATE product SET superseded_at = $now
WHERE superseded_at IS NULL AND obs_id IN (SELECT obs_id FROM new_listing) AND uri NOT IN (SELECT uri FROM new_product);

DELETE FROM rejection WHERE entity = 'observation' AND stage = 'products'
AND entity_id IN (SELECT obs_id FROM new_listing) AND entity_id NOT IN (SELECT entity_id FROM new_rejection);

DELETE FROM attempt WHERE entity = 'proposal' AND stage = 'products'
AND entity_id IN (SELECT proposal_id FROM observation JOIN new_listing USING (obs_id));
