-- Keeps the views for analysts as they were before there were generations beside the tables that they select from, so that a switch back to
-- these finds them where it finds those of every other generation.
DO $body$
DECLARE
    own RECORD;
    described RECORD;
    before TEXT := current_setting('search_path');
BEGIN
    -- Then names are written out with their schemas.
    PERFORM set_config('search_path', 'pg_catalog', true);
    FOR own IN
        SELECT c.oid, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'v' AND n.nspname = 'doppio_analytics' ORDER BY c.relname
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW doppio_read.%I AS %s', 'analyst_' || own.name, pg_get_viewdef(own.oid));
        EXECUTE format('COMMENT ON VIEW doppio_read.%I IS %L', 'analyst_' || own.name, obj_description(own.oid, 'pg_class'));
        FOR described IN
            SELECT attname AS name, col_description(own.oid, attnum) AS said
            FROM pg_attribute WHERE attrelid = own.oid AND attnum > 0 AND NOT attisdropped
        LOOP
            EXECUTE format('COMMENT ON COLUMN doppio_read.%I.%I IS %L', 'analyst_' || own.name, described.name, described.said);
        END LOOP;
    END LOOP;
    PERFORM set_config('search_path', before, true);
END
$body$;
