-- Contract version 1.3.0 of catalog: a note on a tile, such as that its camera is unknown.
ALTER TABLE "tile" ADD COLUMN "note" VARCHAR;
