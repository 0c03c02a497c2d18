-- Contract version 1.3.0 of shards: the place of a sample in its product, its WCS and the limits of its stretch.
ALTER TABLE "sample" ADD COLUMN "chip" BIGINT;
ALTER TABLE "sample" ADD COLUMN "y0" BIGINT;
ALTER TABLE "sample" ADD COLUMN "x0" BIGINT;
ALTER TABLE "sample" ADD COLUMN "shrink" DOUBLE;
ALTER TABLE "sample" ADD COLUMN "wcs" VARCHAR;
ALTER TABLE "sample" ADD COLUMN "unit" VARCHAR;
ALTER TABLE "sample" ADD COLUMN "black" DOUBLE;
ALTER TABLE "sample" ADD COLUMN "white" DOUBLE;
ALTER TABLE "sample" ADD COLUMN "softening" DOUBLE;
