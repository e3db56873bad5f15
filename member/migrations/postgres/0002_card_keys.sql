-- Cards by keyed hashes: HMAC-SHA-256 of SHA-256 (token), a row for each key. Rows with the key id '' are plain SHA-256 of an earlier
-- version; the service makes keyed ones of them when it starts.
CREATE TABLE card_hashes (
    key_id    TEXT  NOT NULL,
    hmac      BYTEA NOT NULL,
    -- The rows of one card share it.
    card_id   UUID  NOT NULL,
    member_id UUID  NOT NULL REFERENCES members,
    PRIMARY KEY (key_id, hmac)
);

CREATE INDEX card_hashes_by_member ON card_hashes (member_id);
CREATE INDEX card_hashes_by_card ON card_hashes (card_id);

INSERT INTO card_hashes (key_id, hmac, card_id, member_id)
SELECT '', token_sha256, gen_random_uuid(), member_id FROM cards;

DROP TABLE cards;
