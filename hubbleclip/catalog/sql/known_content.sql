-- Content of a file on disk that was downloaded with this ETag and size; if there is one, the download can be skipped.
SELECT sha256 FROM product WHERE etag = $etag AND size_bytes = $size_bytes AND path IS NOT NULL LIMIT 1
