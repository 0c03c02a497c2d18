-- Contract version 1.4.0 of shards: what the captions of a sample were made from.
ALTER TABLE "sample" ADD COLUMN "caption_source" VARCHAR;
