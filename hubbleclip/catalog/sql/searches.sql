-- Table macros that search by sky position and by words. A migration defines them again whenever the text of this file changes.

-- Length of the great circle by the haversine formula (Sinnott 1984, Sky & Telescope 68, 158). The error is about 1e-12 degrees, and
-- 1e-6 degrees between nearly opposite positions.
CREATE OR REPLACE MACRO separation_deg(ra1, dec1, ra2, dec2) AS
  degrees(2 * asin(least(1, sqrt(
    sin(radians(dec2 - dec1) / 2) ** 2
    + cos(radians(dec1)) * cos(radians(dec2)) * sin(radians(ra2 - ra1) / 2) ** 2))));
COMMENT ON MACRO separation_deg IS 'Angular separation of two positions on the sky; all in degrees';

CREATE OR REPLACE MACRO turn_deg(angle) AS angle - 360 * floor(angle / 360);
COMMENT ON MACRO turn_deg IS 'An angle wrapped to [0, 360) degrees; an angle in that range is not changed';

-- If the range does not cross 0, both comparisons with ra must hold; if the range crosses 0, exactly one of them must hold.
-- The condition is an equality, because DuckDB evaluates an equality during the scan and then reads the other columns of matching
-- rows only. It does not do this for an OR or for arithmetic on the column. The expression is short, because binding and planning
-- a long macro takes as long as scanning a million rows.
CREATE OR REPLACE MACRO in_wedge(ra, west, east) AS
  ((ra >= turn_deg(west)) = (ra <= turn_deg(east))) = (turn_deg(west) <= turn_deg(east));
COMMENT ON MACRO in_wedge IS 'Whether a right ascension of 0 to 360 degrees is in the range from west eastwards to east';

-- An arc changes the right ascension by at most its length / cos(declination). The declination used here is the one in the cone that
-- is nearest to a pole.
CREATE OR REPLACE MACRO half_width_deg(declination, radius) AS
  (radius + 1e-6) / cos(radians(least(90, abs(declination) + radius)));
COMMENT ON MACRO half_width_deg IS 'Upper bound of half the extent of a cone in right ascension; at least 180 if the cone contains a pole';

-- The ranges in declination and right ascension that enclose the cone are tested first, so that the exact test is needed for few
-- rows only. The ranges are wider by 1e-6 degrees, so that rounding loses no tile.
CREATE OR REPLACE MACRO cone(ra, "dec", radius_deg) AS TABLE
  WITH near AS (
    SELECT tile_id, separation_deg(ra, "dec", ra_deg, dec_deg) AS separation_deg, ra_deg, dec_deg, proposal_id, instrument, filter
    FROM tile
    WHERE dec_deg BETWEEN "dec" - radius_deg - 1e-6 AND "dec" + radius_deg + 1e-6
      AND (half_width_deg("dec", radius_deg) >= 180
           OR in_wedge(ra_deg, ra - half_width_deg("dec", radius_deg), ra + half_width_deg("dec", radius_deg))))
  FROM near WHERE separation_deg <= radius_deg ORDER BY separation_deg, tile_id;
COMMENT ON MACRO TABLE cone IS 'cone(ra, dec, radius_deg): tiles whose centre lies within a radius of a position, nearest first; in degrees';

CREATE OR REPLACE MACRO box(ra_min, ra_max, dec_min, dec_max) AS TABLE
  SELECT tile_id, ra_deg, dec_deg, proposal_id, instrument, filter
  FROM tile
  WHERE dec_deg BETWEEN dec_min AND dec_max AND (ra_max - ra_min >= 360 - 1e-9 OR in_wedge(ra_deg, ra_min, ra_max))
  ORDER BY tile_id;
COMMENT ON MACRO TABLE box IS 'box(ra_min, ra_max, dec_min, dec_max): tiles whose centre lies in the range, from ra_min eastwards, also across 0; in degrees';

