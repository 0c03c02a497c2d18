-- Earlier contents of products that are not the current content of any product; the files of these contents can be deleted.
SELECT DISTINCT v.sha256, p.file_name FROM product_version v JOIN product p USING (uri)
WHERE NOT EXISTS (SELECT 1 FROM product q WHERE q.sha256 = v.sha256)
