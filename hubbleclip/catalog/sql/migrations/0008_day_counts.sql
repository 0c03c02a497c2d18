-- Contract version 1.5.0 of catalog: counts of rows by day of release, and observations that the archive has withdrawn.
ALTER TABLE "observation" ADD COLUMN "query_digest" VARCHAR;
ALTER TABLE "observation" ADD COLUMN "withdrawn_at" TIMESTAMP;

CREATE TABLE "day_count" (
  "archive" VARCHAR NOT NULL,
  "query_digest" VARCHAR NOT NULL,
  "day_mjd" BIGINT NOT NULL,
  "num_rows" BIGINT,
  "counted_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("archive", "query_digest", "day_mjd")
);

-- Observations of an archive that was queried with one set of settings only are the answer to that query. Where the archive counts
-- other numbers of rows, it is queried again.
UPDATE "observation" SET "query_digest" = w."query_digest"
FROM (SELECT "archive", any_value("query_digest") AS "query_digest" FROM "watermark" GROUP BY "archive" HAVING count(*) = 1) w
WHERE "observation"."archive" = w."archive";

INSERT INTO "day_count"
SELECT o."archive", o."query_digest", floor(o."released_mjd")::BIGINT, count(*), any_value(w."updated_at")
FROM "observation" o JOIN "watermark" w ON w."archive" = o."archive" AND w."query_digest" = o."query_digest"
WHERE o."released_mjd" IS NOT NULL GROUP BY ALL;
