-- Products by their names.
SELECT p.* FROM product p SEMI JOIN (SELECT unnest($uris) AS uri) USING (uri)
