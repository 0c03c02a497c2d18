-- Files whose content has changed although the archive lists the same version are fetched again.
UPDATE product SET fetched_version = '' WHERE list_contains($uris, uri);
