-- Which command is recorded where, for commands before a ledger's last close. Disposable: rebuilt from the log.
CREATE TABLE commands (
    store_id     TEXT NOT NULL,
    command_id   BLOB NOT NULL,
    content_hash BLOB NOT NULL,
    revision     INTEGER NOT NULL,
    -- Place in the record of the command's last event.
    event_index  INTEGER NOT NULL,
    order_id     BLOB,
    PRIMARY KEY (store_id, command_id)
) WITHOUT ROWID;

-- Which records speak of an order.
CREATE TABLE order_records (
    store_id TEXT NOT NULL,
    order_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (store_id, order_id, revision)
) WITHOUT ROWID;

-- How far each ledger is indexed, with the hash that proves that it was this ledger.
CREATE TABLE stamps (
    store_id       TEXT PRIMARY KEY NOT NULL,
    ledger_id      BLOB NOT NULL,
    revision       INTEGER NOT NULL,
    hash           BLOB NOT NULL,
    recorded_at_us INTEGER NOT NULL
) WITHOUT ROWID;
