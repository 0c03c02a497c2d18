-- Contents that were cut under these settings from a product in use, other than the given products.
SELECT p.sha256, min(p.uri) AS uri FROM product p
WHERE p.superseded_at IS NULL AND list_contains($contents, p.sha256) AND NOT list_contains($uris, p.uri)
  AND (p.uri, p.sha256) IN (SELECT (product_uri, product_sha256) FROM tile WHERE settings_digest = $settings_digest)
GROUP BY ALL
