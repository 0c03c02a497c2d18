-- Files on the disk whose ETag is a hash of their content.
SELECT DISTINCT etag, size_bytes, sha256 FROM product
WHERE path IS NOT NULL AND regexp_full_match(etag, '[0-9a-f]{32,}')
