-- Which generations of the read model there are. Each has its tables in a place of its own: a schema of PostgreSQL, a file of SQLite.
CREATE TABLE IF NOT EXISTS generations (
    number BIGINT NOT NULL PRIMARY KEY,
    -- Of its tables.
    version BIGINT NOT NULL,
    made_at_us BIGINT NOT NULL,
    -- Since when it is the live one, or was the last time; 0: it never was.
    live_since_us BIGINT NOT NULL,
    -- 1: its tables are being removed; 2: they are gone.
    dropping BIGINT NOT NULL
);

-- The one that is read. One row, once there is a generation.
CREATE TABLE IF NOT EXISTS live (
    only_row BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    number BIGINT NOT NULL,
    -- The live one of before; 0: there is none to go back to.
    previous BIGINT NOT NULL
);
