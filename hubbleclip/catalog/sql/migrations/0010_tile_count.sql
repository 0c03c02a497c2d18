-- Counts that `hubbleclip status` reads, derived from other tables whenever the catalog is published; no table of the contract.
CREATE TABLE "tile_count" (
  "proposal_id" VARCHAR NOT NULL,
  "settings_digest" VARCHAR NOT NULL,
  "num_samples" BIGINT NOT NULL,
  "num_to_split" BIGINT NOT NULL,
  "num_to_shard" BIGINT NOT NULL
);
