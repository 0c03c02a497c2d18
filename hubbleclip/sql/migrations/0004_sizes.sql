-- Contract version 1.2.0 of catalog: the size of a tile's picture; of packed ones the dataset tells it.
ALTER TABLE "tile" ADD COLUMN "size_bytes" BIGINT;
UPDATE "tile" SET "size_bytes" = "placement"."length" FROM "placement" WHERE "placement"."tile_id" = "tile"."tile_id";
