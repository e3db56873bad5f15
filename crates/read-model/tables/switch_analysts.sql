-- Has the analysts' views select from the generation in the schema $schema, within the transaction that makes it the live one. A view that
-- can only be made anew, because its columns are others, loses what had been granted on it: that is granted again to the role below.
DO $body$
DECLARE
    own RECORD;
    described RECORD;
    text TEXT;
BEGIN
    FOR own IN
        SELECT oid, relname AS source, substr(relname, length('analyst_') + 1) AS name
        FROM pg_class WHERE relkind = 'v' AND relnamespace = '$schema'::regnamespace AND starts_with(relname, 'analyst_')
        ORDER BY relname
    LOOP
        text := format('VIEW doppio_analytics.%I AS SELECT * FROM $schema.%I', own.name, own.source);
        BEGIN
            EXECUTE 'CREATE OR REPLACE ' || text;
        EXCEPTION WHEN invalid_table_definition THEN
            EXECUTE format('DROP VIEW doppio_analytics.%I', own.name);
            EXECUTE 'CREATE ' || text;
        END;
        EXECUTE format('COMMENT ON VIEW doppio_analytics.%I IS %L', own.name, obj_description(own.oid, 'pg_class'));
        FOR described IN
            SELECT attname AS name, col_description(own.oid, attnum) AS said
            FROM pg_attribute WHERE attrelid = own.oid AND attnum > 0 AND NOT attisdropped
        LOOP
            EXECUTE format('COMMENT ON COLUMN doppio_analytics.%I.%I IS %L', own.name, described.name, described.said);
        END LOOP;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'doppio_analyst') THEN
        BEGIN
            GRANT USAGE ON SCHEMA doppio_analytics TO doppio_analyst;
            GRANT SELECT ON ALL TABLES IN SCHEMA doppio_analytics TO doppio_analyst;
        EXCEPTION WHEN insufficient_privilege THEN
            -- The role is another database's, made by somebody else: docs/ANALYSTS.md says what to run.
            NULL;
        END;
    END IF;
END
$body$;
