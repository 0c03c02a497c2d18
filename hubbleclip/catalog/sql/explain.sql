-- Lineage of one tile, from its offset in a shard back to the proposal's abstract.
WITH packed AS (
  SELECT l.dataset_digest, l.shard, l."offset", l.length, h.split, h.sha256 AS shard_sha256,
         coalesce(h.home_digest, l.dataset_digest) AS home_digest, d.path AS dataset, d.inputs_digest AS dataset_inputs, d.built_at
  FROM placement l JOIN shard h USING (dataset_digest, shard) JOIN dataset d ON d.digest = l.dataset_digest
  WHERE l.tile_id = $tile_id
), written AS (
  SELECT abstract_sha256, list({'writer': writer, 'is_model': is_model, 'model': model, 'prompt_version': prompt_version,
    'prompt_digest': prompt_digest, 'schema_version': schema_version, 'seed': seed, 'answered_at': answered_at,
    'num_named': num_named, 'num_ungrounded': len(ungrounded)} ORDER BY writer) AS summaries
  FROM abstract_summary GROUP BY abstract_sha256
), trained AS (
  SELECT list({'run_id': run_id, 'settings': settings_digest, 'code_version': code_version} ORDER BY run_id) AS runs
  FROM run JOIN packed USING (dataset_digest) WHERE packed.split = 'train'
)
SELECT t.tile_id, t.path AS png, t.png_sha256, t.size_bytes AS png_bytes, t.view, t.chip, t.y0, t.x0, t.size_px, t.shrink, t.ra_deg, t.dec_deg,
       t.pixel_scale_arcsec, t.wcs,
       t.valid_share, t.sky, t.noise, t.black, t.white, t.softening, t.unit, t.settings_digest AS tile_settings, t.cut_at,
       s.group_id, s.split, s.reason AS split_reason,
       l.dataset_digest, l.dataset, l.dataset_inputs, l.built_at AS dataset_built_at, l.shard, home.path || '/' || l.shard AS shard_path,
       l."offset", l.length, l.shard_sha256, coalesce(trained.runs, []) AS trained_runs,
       t.product_uri, f.kind AS product_kind, f.choice AS product_choice, t.product_sha256,
       CASE WHEN f.sha256 = t.product_sha256 THEN f.path END AS product_path,
       v.version AS product_version, v.archive_version AS product_archive_version, v.source AS product_source,
       v.fetched_at AS product_fetched_at, a.settings_digest AS archive_settings,
       f.sha256 = t.product_sha256 AND f.superseded_at IS NULL AS is_current,
       o.obs_id, o.obsid, o.instrument, o.filters, o.target_name, o.target_class, o.exposure_s, o.start_mjd,
       p.proposal_id, p.cycle, p.category, p.title, p.pi, p.source AS abstract_source, p.provenance AS abstract_provenance,
       p.fetched_at AS abstract_fetched_at, p.abstract, s2.caption_kinds,
       coalesce(written.summaries, []) AS abstract_summaries
FROM tile t
LEFT JOIN split s USING (tile_id)
LEFT JOIN (FROM packed ORDER BY built_at DESC, dataset_digest LIMIT 1) l ON true
LEFT JOIN dataset home ON home.digest = l.home_digest
LEFT JOIN trained ON true
LEFT JOIN product f ON f.uri = t.product_uri
LEFT JOIN (SELECT * FROM product_version QUALIFY row_number() OVER (PARTITION BY uri, sha256 ORDER BY version DESC) = 1) v
       ON v.uri = t.product_uri AND v.sha256 = t.product_sha256
LEFT JOIN listing a ON a.obs_id = t.obs_id
LEFT JOIN observation o ON o.obs_id = t.obs_id
LEFT JOIN proposal p ON p.proposal_id = t.proposal_id
LEFT JOIN written ON written.abstract_sha256 = sha256(p.abstract)
LEFT JOIN sample s2 ON s2.tile_id = t.tile_id
WHERE t.tile_id = $tile_id
