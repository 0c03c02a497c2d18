-- Products by URI.
SELECT p.* FROM product p SEMI JOIN (SELECT unnest($uris) AS uri) USING (uri)
