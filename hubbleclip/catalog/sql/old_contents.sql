-- Earlier contents of products that no product has now; their files can be deleted.
SELECT DISTINCT v.sha256, p.file_name FROM product_version v JOIN product p USING (uri)
WHERE NOT EXISTS (SELECT 1 FROM product q WHERE q.sha256 = v.sha256)
