-- Contract version 1.1.0 of catalog and shards: versions of products, listings, attempts, provenance, views of tiles.
ALTER TABLE "proposal" ADD COLUMN "provenance" VARCHAR;
ALTER TABLE "observation" ADD COLUMN "visit" VARCHAR;
ALTER TABLE "observation" ADD COLUMN "fingerprint" VARCHAR;
ALTER TABLE "product" ADD COLUMN "archive_version" VARCHAR;
ALTER TABLE "product" ADD COLUMN "fetched_version" VARCHAR;
ALTER TABLE "product" ADD COLUMN "version" BIGINT;
ALTER TABLE "product" ADD COLUMN "source" VARCHAR;
ALTER TABLE "product" ADD COLUMN "etag" VARCHAR;
ALTER TABLE "product" ADD COLUMN "superseded_at" TIMESTAMP;
ALTER TABLE "tile" ADD COLUMN "view" VARCHAR;
ALTER TABLE "tile" ADD COLUMN "shrink" DOUBLE;
ALTER TABLE "tile" ADD COLUMN "part_uris" VARCHAR[];
ALTER TABLE "sample" ADD COLUMN "view" VARCHAR;
UPDATE "product" SET "version" = 1, "source" = CASE WHEN "uri" LIKE 'local:%' THEN 'local' ELSE 'mast' END WHERE "sha256" IS NOT NULL;

CREATE TABLE "product_version" (
  "uri" VARCHAR NOT NULL,
  "version" BIGINT NOT NULL,
  "sha256" VARCHAR NOT NULL,
  "archive_version" VARCHAR,
  "size_bytes" BIGINT NOT NULL,
  "source" VARCHAR NOT NULL,
  "fetched_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("uri", "version")
);

CREATE TABLE "listing" (
  "obs_id" VARCHAR NOT NULL,
  "settings_digest" VARCHAR NOT NULL,
  "fingerprint" VARCHAR,
  "listed_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("obs_id")
);

CREATE TABLE "attempt" (
  "entity" VARCHAR NOT NULL,
  "entity_id" VARCHAR NOT NULL,
  "stage" VARCHAR NOT NULL,
  "attempts" BIGINT NOT NULL,
  "error" VARCHAR NOT NULL,
  "detail" VARCHAR NOT NULL,
  "first_at" TIMESTAMP NOT NULL,
  "last_at" TIMESTAMP NOT NULL,
  "next_try_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("entity", "entity_id", "stage")
);

INSERT INTO "product_version"
SELECT "uri", 1, "sha256", NULL, "size_bytes", "source", "fetched_at" FROM "product" WHERE "sha256" IS NOT NULL;
