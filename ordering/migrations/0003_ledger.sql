-- Everything is read from the log again: what was owed, and where records lie, was not noted before.
DELETE FROM commands;
DELETE FROM order_records;
DELETE FROM stamps;

-- Orders that were accepted without an answer of the member service and are not settled as of the store's stamp.
CREATE TABLE unresolved (
    store_id   TEXT NOT NULL,
    order_id   BLOB NOT NULL,
    -- The order's Membership as it was recorded: what is needed to ask again.
    membership BLOB NOT NULL,
    PRIMARY KEY (store_id, order_id)
) WITHOUT ROWID;

-- Where in its stream a record lies: a hint that saves a search, checked by the record's hash when it is used.
CREATE TABLE places (
    store_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    PRIMARY KEY (store_id, revision)
) WITHOUT ROWID;
