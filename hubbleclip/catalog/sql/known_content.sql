-- A file on disk that its server sent with this ETag and size, so that a download can be skipped.
SELECT sha256 FROM product WHERE etag = $etag AND size_bytes = $size_bytes AND path IS NOT NULL LIMIT 1
