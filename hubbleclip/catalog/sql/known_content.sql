-- A file on the disk whose server gave it this ETag and size.
SELECT sha256 FROM product WHERE etag = $etag AND size_bytes = $size_bytes AND path IS NOT NULL LIMIT 1
