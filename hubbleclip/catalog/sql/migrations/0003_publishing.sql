-- Contract versions shards 1.2.0 and run 1.1.0: datasets that go on with older shards, promotion of runs.
ALTER TABLE "dataset" ADD COLUMN "parent_digest" VARCHAR;
ALTER TABLE "dataset" ADD COLUMN "num_new_samples" BIGINT;
ALTER TABLE "dataset" ADD COLUMN "test_list_sha256" VARCHAR;
ALTER TABLE "shard" ADD COLUMN "home_digest" VARCHAR;

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
