-- The form of the content that a command's hash is of. All that was indexed before is of the first.
ALTER TABLE commands ADD COLUMN content_hash_version INTEGER NOT NULL DEFAULT 1;
