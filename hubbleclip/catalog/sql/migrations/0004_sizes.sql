-- Contract version 1.2.0 of catalog: the size of a tile's picture; of packed ones the dataset tells it.
ALTER TABLE "tile" ADD COLUMN "size_bytes" BIGINT;
UPDATE "tile" SET "size_bytes" = "placement"."length" FROM "placement" WHERE "placement"."tile_id" = "tile"."tile_id";

-- The words of proposals, for `search_abstracts`: no facts, so no part of the contract.
CREATE TABLE "abstract_word" ("word" VARCHAR NOT NULL, "proposal_id" VARCHAR NOT NULL, "num" BIGINT NOT NULL);
CREATE TABLE "abstract_length" ("proposal_id" VARCHAR NOT NULL, "num_words" BIGINT NOT NULL);
COMMENT ON TABLE "abstract_word" IS 'How often a word stands in the title and abstract of a proposal; made from proposal';
COMMENT ON TABLE "abstract_length" IS 'Number of words of the title and abstract of a proposal; made from proposal';
