-- What the page of a tile shows beyond the facts of a hit.
SELECT t.tile_id, t.proposal_id, t.obs_id, t.product_uri, t.view, t.chip, t.y0, t.x0, t.size_px, t.ra_deg, t.dec_deg,
       t.pixel_scale_arcsec, t.corners_deg, t.wcs, t.unit, coalesce(t.instrument, o.instrument) AS instrument,
       split_part(coalesce(t.instrument, o.instrument), '/', 2) AS detector, coalesce(t.filter, o.filters) AS filter,
       o.exposure_s, o.target_name, o.target_class, o.is_moving,
       to_timestamp((o.start_mjd - 40587) * 86400) AT TIME ZONE 'UTC' AS observed_at,  -- MJD 40587 is 1970-01-01
       s.split, p.title, p.abstract, p.pi, p.cycle, p.category
FROM tile t
LEFT JOIN observation o USING (obs_id)
LEFT JOIN proposal p ON p.proposal_id = t.proposal_id
LEFT JOIN split s ON s.tile_id = t.tile_id
WHERE t.tile_id = $tile_id
