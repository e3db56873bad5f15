-- The log that this index is of; one row.
CREATE TABLE log (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    log_id BLOB NOT NULL,
    epoch  INTEGER NOT NULL
);

-- The last record that was seen in each ledger: a log without it has lost what was acknowledged.
CREATE TABLE witnesses (
    store_id TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL,
    hash     BLOB NOT NULL
) WITHOUT ROWID;
