-- Let product lists stay valid for observations of which only the fingerprint has changed, as after an upgrade to a release that
-- hashes other columns: new_observation has the same values in all columns that are read.
UPDATE listing SET fingerprint = n.fingerprint FROM observation o JOIN new_observation n USING (obs_id)
WHERE listing.obs_id = n.obs_id AND listing.fingerprint = o.fingerprint
  AND (o.obsid, o.proposal_id, o.instrument, o.filters, o.target_name, o.target_class, o.is_moving, o.ra_deg, o.dec_deg, o.footprint,
       o.start_mjd, o.exposure_s, o.calib_level, o.released_mjd, o.title, o.visit)
  IS NOT DISTINCT FROM (n.obsid, n.proposal_id, n.instrument, n.filters, n.target_name, n.target_class, n.is_moving, n.ra_deg, n.dec_deg,
       n.footprint, n.start_mjd, n.exposure_s, n.calib_level, n.released_mjd, n.title, n.visit);
