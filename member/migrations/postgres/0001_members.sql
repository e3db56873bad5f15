-- Times are microseconds since 1970-01-01 UTC. Ids are UUIDs.

CREATE TABLE members (
    member_id        UUID   NOT NULL PRIMARY KEY,
    -- NULL once withdrawn, like phone_number.
    display_name     TEXT,
    phone_number     TEXT   UNIQUE,
    tier             TEXT   NOT NULL CHECK (tier IN ('basic', 'silver', 'gold')),
    state            TEXT   NOT NULL CHECK (state IN ('active', 'withdrawn')),
    register_time_us BIGINT NOT NULL,
    update_time_us   BIGINT NOT NULL,
    -- Grows with every change; the etag.
    version          BIGINT NOT NULL,
    CHECK ((state = 'active') = (display_name IS NOT NULL)),
    CHECK ((state = 'active') = (phone_number IS NOT NULL))
);

CREATE TABLE cards (
    -- SHA-256 of the token; the token itself is never stored.
    token_sha256 BYTEA NOT NULL PRIMARY KEY,
    member_id    UUID  NOT NULL REFERENCES members
);

CREATE INDEX cards_by_member ON cards (member_id);

-- Every registration for ever, so that a repeat answers as the first did.
CREATE TABLE registrations (
    request_id   UUID  NOT NULL PRIMARY KEY,
    member_id    UUID  NOT NULL REFERENCES members,
    -- The content is kept only as SHA-256 (salt, content); NULL once withdrawn, so that nothing can be guessed from it.
    salt         BYTEA,
    content_hash BYTEA,
    CHECK ((salt IS NULL) = (content_hash IS NULL))
);

CREATE INDEX registrations_by_member ON registrations (member_id);
