-- All tables of a catalog. Until the first release is tagged, this file is edited in place; from then on, a change is a new file
-- `NNNN_<name>.sql` beside it.
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
  "provenance" VARCHAR,
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
  "visit" VARCHAR,
  "fingerprint" VARCHAR,
  "query_digest" VARCHAR,
  "withdrawn_at" TIMESTAMP,
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
  "archive_version" VARCHAR,
  "fetched_version" VARCHAR,
  "version" BIGINT,
  "source" VARCHAR,
  "etag" VARCHAR,
  "superseded_at" TIMESTAMP,
  PRIMARY KEY ("uri")
);

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
  "view" VARCHAR,
  "shrink" DOUBLE,
  "part_uris" VARCHAR[],
  "size_bytes" BIGINT,
  "note" VARCHAR,
  PRIMARY KEY ("tile_id")
);

CREATE TABLE "abstract_summary" (
  "abstract_sha256" VARCHAR NOT NULL,
  "writer" VARCHAR NOT NULL,
  "is_model" BOOLEAN NOT NULL,
  "model" VARCHAR NOT NULL,
  "prompt_version" BIGINT NOT NULL,
  "prompt_digest" VARCHAR NOT NULL,
  "schema_version" BIGINT NOT NULL,
  "seed" BIGINT NOT NULL,
  "objects" VARCHAR[] NOT NULL,
  "phenomena" VARCHAR[] NOT NULL,
  "science_aims" VARCHAR[] NOT NULL,
  "target_names" VARCHAR[] NOT NULL,
  "category" VARCHAR NOT NULL,
  "summary" VARCHAR NOT NULL,
  "search_phrases" VARCHAR[] NOT NULL,
  "ungrounded" VARCHAR[] NOT NULL,
  "num_named" BIGINT NOT NULL,
  "num_calls" BIGINT NOT NULL,
  "prompt_tokens" BIGINT,
  "answer_tokens" BIGINT,
  "duration_s" DOUBLE NOT NULL,
  "answered_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("abstract_sha256", "writer")
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

CREATE TABLE "watermark" (
  "archive" VARCHAR NOT NULL,
  "query_digest" VARCHAR NOT NULL,
  "released_mjd" DOUBLE NOT NULL,
  "updated_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("archive", "query_digest")
);

CREATE TABLE "day_count" (
  "archive" VARCHAR NOT NULL,
  "query_digest" VARCHAR NOT NULL,
  "day_mjd" BIGINT NOT NULL,
  "num_rows" BIGINT,
  "counted_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("archive", "query_digest", "day_mjd")
);

CREATE TABLE "dataset" (
  "digest" VARCHAR NOT NULL,
  "inputs_digest" VARCHAR NOT NULL,
  "path" VARCHAR NOT NULL,
  "num_samples" BIGINT NOT NULL,
  "num_shards" BIGINT NOT NULL,
  "contract_version" VARCHAR NOT NULL,
  "built_at" TIMESTAMP NOT NULL,
  "parent_digest" VARCHAR,
  "num_new_samples" BIGINT,
  "test_list_sha256" VARCHAR,
  PRIMARY KEY ("digest")
);

CREATE TABLE "shard" (
  "dataset_digest" VARCHAR NOT NULL,
  "shard" VARCHAR NOT NULL,
  "split" VARCHAR NOT NULL,
  "sha256" VARCHAR NOT NULL,
  "size_bytes" BIGINT NOT NULL,
  "num_samples" BIGINT NOT NULL,
  "home_digest" VARCHAR,
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
  "view" VARCHAR,
  "chip" BIGINT,
  "y0" BIGINT,
  "x0" BIGINT,
  "shrink" DOUBLE,
  "wcs" VARCHAR,
  "unit" VARCHAR,
  "black" DOUBLE,
  "white" DOUBLE,
  "softening" DOUBLE,
  "caption_source" VARCHAR,
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

CREATE TABLE "promotion" (
  "run_id" VARCHAR NOT NULL,
  "previous_run_id" VARCHAR,
  "is_promoted" BOOLEAN NOT NULL,
  "metric" VARCHAR NOT NULL,
  "value" DOUBLE NOT NULL,
  "difference" DOUBLE,
  "low" DOUBLE,
  "high" DOUBLE,
  "decided_at" TIMESTAMP NOT NULL,
  PRIMARY KEY ("run_id")
);

-- The words of proposals, for `search_abstracts`. They are derived from other tables, so they are not part of the contract.
CREATE TABLE "abstract_word" ("word" VARCHAR NOT NULL, "proposal_id" VARCHAR NOT NULL, "num" BIGINT NOT NULL);
CREATE TABLE "abstract_length" ("proposal_id" VARCHAR NOT NULL, "num_words" BIGINT NOT NULL);
COMMENT ON TABLE "abstract_word" IS 'Number of times that a word occurs in the title, abstract and newest summary of a proposal; derived from these';
COMMENT ON TABLE "abstract_length" IS 'Number of words of the title, abstract and newest summary of a proposal; derived from these';

-- Counts that `hubbleclip status` reads, derived from other tables whenever the catalog is published; no part of the contract.
CREATE TABLE "tile_count" (
  "proposal_id" VARCHAR NOT NULL,
  "settings_digest" VARCHAR NOT NULL,
  "num_samples" BIGINT NOT NULL,
  "num_to_split" BIGINT NOT NULL,
  "num_to_shard" BIGINT NOT NULL
);
