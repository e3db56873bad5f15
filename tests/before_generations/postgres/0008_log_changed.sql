-- How often the projector has looked where the log ends: with a position at the head, what was in the log before is projected.
ALTER TABLE checkpoints ADD COLUMN looks BIGINT NOT NULL DEFAULT 0;
-- Why the log is not the one that these rows were projected from; empty while it is.
ALTER TABLE checkpoints ADD COLUMN log_changed TEXT NOT NULL DEFAULT '';
