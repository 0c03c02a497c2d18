-- The tables of contract version 1.0.0.
CREATE TABLE "proposal" (
  "proposal_id" VARCHAR NOT NULL,
  "archive" VARCHAR NOT NULL,
  "number" VARCHAR NOT NULL,
  "cycle" BIGINT,
  "proposal_type" VARCHAR,
  "category" VARCHAR,
  "title" VARCHAR NOT NULL,
  "pi" VARCHAR,
  "abstract" VARCHAR,
  "source" VARCHAR NOT NULL,
  "fetched_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("proposal_id")
);

CREATE TABLE "observation" (
  "obs_id" VARCHAR NOT NULL,
  "archive" VARCHAR NOT NULL,
  "obsid" BIGINT,
  "proposal_id" VARCHAR NOT NULL,
  "instrument" VARCHAR NOT NULL,
  "filters" VARCHAR,
  "target_name" VARCHAR,
  "target_class" VARCHAR,
  "is_moving" BOOLEAN NOT NULL,
  "ra_deg" DOUBLE,
  "dec_deg" DOUBLE,
  "footprint" VARCHAR,
  "start_mjd" DOUBLE,
  "exposure_s" DOUBLE,
  "calib_level" BIGINT,
  "released_mjd" DOUBLE,
  "title" VARCHAR,
  "fetched_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("obs_id")
);

CREATE TABLE "product" (
  "uri" VARCHAR NOT NULL,
  "obs_id" VARCHAR NOT NULL,
  "proposal_id" VARCHAR NOT NULL,
  "file_name" VARCHAR NOT NULL,
  "kind" VARCHAR NOT NULL,
  "size_bytes" BIGINT,
  "choice" VARCHAR NOT NULL,
  "sha256" VARCHAR,
  "path" VARCHAR,
  "fetched_at" TIMESTAMP,
  PRIMARY KEY ("uri")
);

CREATE TABLE "tile" (
  "tile_id" VARCHAR NOT NULL,
  "product_uri" VARCHAR NOT NULL,
  "product_sha256" VARCHAR NOT NULL,
  "obs_id" VARCHAR NOT NULL,
  "proposal_id" VARCHAR NOT NULL,
  "path" VARCHAR NOT NULL,
  "png_sha256" VARCHAR NOT NULL,
  "chip" BIGINT NOT NULL,
  "y0" BIGINT NOT NULL,
  "x0" BIGINT NOT NULL,
  "size_px" BIGINT NOT NULL,
  "instrument" VARCHAR,
  "filter" VARCHAR,
  "unit" VARCHAR,
  "ra_deg" DOUBLE,
  "dec_deg" DOUBLE,
  "corners_deg" DOUBLE[] NOT NULL,
  "pixel_scale_arcsec" DOUBLE,
  "wcs" VARCHAR,
  "valid_share" DOUBLE NOT NULL,
  "sky" DOUBLE NOT NULL,
  "noise" DOUBLE NOT NULL,
  "black" DOUBLE NOT NULL,
  "white" DOUBLE NOT NULL,
  "softening" DOUBLE NOT NULL,
  "settings_digest" VARCHAR NOT NULL,
  "cut_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("tile_id")
);

CREATE TABLE "caption" (
  "proposal_id" VARCHAR NOT NULL,
  "kind" VARCHAR NOT NULL,
  "text" VARCHAR NOT NULL,
  PRIMARY KEY ("proposal_id", "kind")
);

CREATE TABLE "split" (
  "tile_id" VARCHAR NOT NULL,
  "group_id" VARCHAR NOT NULL,
  "split" VARCHAR NOT NULL,
  "reason" VARCHAR,
  PRIMARY KEY ("tile_id")
);

CREATE TABLE "rejection" (
  "entity" VARCHAR NOT NULL,
  "entity_id" VARCHAR NOT NULL,
  "stage" VARCHAR NOT NULL,
  "reason" VARCHAR NOT NULL,
  "detail" VARCHAR NOT NULL,
  "settings_digest" VARCHAR NOT NULL,
  "rejected_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("entity", "entity_id", "stage")
);

CREATE TABLE "watermark" (
  "archive" VARCHAR NOT NULL,
  "query_digest" VARCHAR NOT NULL,
  "released_mjd" DOUBLE NOT NULL,
  "updated_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("archive", "query_digest")
);

CREATE TABLE "dataset" (
  "digest" VARCHAR NOT NULL,
  "inputs_digest" VARCHAR NOT NULL,
  "path" VARCHAR NOT NULL,
  "num_samples" BIGINT NOT NULL,
  "num_shards" BIGINT NOT NULL,
  "contract_version" VARCHAR NOT NULL,
  "built_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("digest")
);

CREATE TABLE "shard" (
  "dataset_digest" VARCHAR NOT NULL,
  "shard" VARCHAR NOT NULL,
  "split" VARCHAR NOT NULL,
  "sha256" VARCHAR NOT NULL,
  "size_bytes" BIGINT NOT NULL,
  "num_samples" BIGINT NOT NULL,
  PRIMARY KEY ("dataset_digest", "shard")
);

CREATE TABLE "placement" (
  "dataset_digest" VARCHAR NOT NULL,
  "tile_id" VARCHAR NOT NULL,
  "shard" VARCHAR NOT NULL,
  "offset" BIGINT NOT NULL,
  "length" BIGINT NOT NULL,
  PRIMARY KEY ("dataset_digest", "tile_id")
);

CREATE TABLE "sample" (
  "tile_id" VARCHAR NOT NULL,
  "split" VARCHAR NOT NULL,
  "group_id" VARCHAR NOT NULL,
  "proposal_id" VARCHAR NOT NULL,
  "archive" VARCHAR NOT NULL,
  "category" VARCHAR,
  "title" VARCHAR NOT NULL,
  "pi" VARCHAR,
  "cycle" BIGINT,
  "obs_id" VARCHAR NOT NULL,
  "target_name" VARCHAR,
  "target_class" VARCHAR,
  "is_moving" BOOLEAN NOT NULL,
  "instrument" VARCHAR,
  "filter" VARCHAR,
  "ra_deg" DOUBLE,
  "dec_deg" DOUBLE,
  "corners_deg" DOUBLE[] NOT NULL,
  "pixel_scale_arcsec" DOUBLE,
  "valid_share" DOUBLE NOT NULL,
  "product_uri" VARCHAR NOT NULL,
  "product_sha256" VARCHAR NOT NULL,
  "png_sha256" VARCHAR NOT NULL,
  "caption_kinds" VARCHAR[] NOT NULL,
  "captions" VARCHAR[] NOT NULL,
  PRIMARY KEY ("tile_id")
);

CREATE TABLE "run" (
  "run_id" VARCHAR NOT NULL,
  "dataset_digest" VARCHAR NOT NULL,
  "settings_digest" VARCHAR NOT NULL,
  "path" VARCHAR NOT NULL,
  "model" VARCHAR NOT NULL,
  "pretrained" VARCHAR NOT NULL,
  "loss" VARCHAR NOT NULL,
  "is_shuffled" BOOLEAN NOT NULL,
  "steps" BIGINT NOT NULL,
  "samples_seen" BIGINT NOT NULL,
  "seed" BIGINT NOT NULL,
  "device" VARCHAR NOT NULL,
  "best_step" BIGINT NOT NULL,
  "settings" VARCHAR NOT NULL,
  "code_version" VARCHAR NOT NULL,
  "started_at" TIMESTAMP NOT NULL,
  "ended_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("run_id")
);

CREATE TABLE "checkpoint" (
  "run_id" VARCHAR NOT NULL,
  "step" BIGINT NOT NULL,
  "path" VARCHAR NOT NULL,
  "sha256" VARCHAR NOT NULL,
  PRIMARY KEY ("run_id", "step")
);

CREATE TABLE "metric" (
  "run_id" VARCHAR NOT NULL,
  "protocol" VARCHAR NOT NULL,
  "split" VARCHAR NOT NULL,
  "model" VARCHAR NOT NULL,
  "name" VARCHAR NOT NULL,
  "value" DOUBLE NOT NULL,
  "low" DOUBLE,
  "high" DOUBLE,
  PRIMARY KEY ("run_id", "protocol", "split", "model", "name")
);

CREATE TABLE "report" (
  "report_id" VARCHAR NOT NULL,
  "run_id" VARCHAR NOT NULL,
  "settings_digest" VARCHAR NOT NULL,
  "path" VARCHAR NOT NULL,
  "made_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("report_id")
);
