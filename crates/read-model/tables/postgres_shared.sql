-- What all generations share, made before the first of them. The views for analysts are made with the switch to a generation.

CREATE SCHEMA IF NOT EXISTS doppio_analytics;
COMMENT ON SCHEMA doppio_analytics IS 'Doppio for analysts: read-only views of the live projection. Amounts are minor units of the currency.';

-- Decimal places of a currency (ISO 4217), so that an amount of 5634 in BHD can be read as 5.634. A test holds it against the contract.
CREATE OR REPLACE FUNCTION doppio_analytics.currency_decimals(currency TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$body$
    SELECT CASE
        WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF',
                          'XPF') THEN 0
        WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
        WHEN currency IN ('CLF', 'UYW') THEN 4
        ELSE 2
    END
$body$;

COMMENT ON FUNCTION doppio_analytics.currency_decimals IS 'Decimal places of a currency (ISO 4217).';

-- Analysts' accounts become members of this role. Who may not make roles is not held up: docs/ANALYSTS.md says what to run instead.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'doppio_analyst') THEN
        CREATE ROLE doppio_analyst NOLOGIN;
    END IF;
EXCEPTION
    -- Roles belong to the whole server: another database's migration may have made it meanwhile.
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
        NULL;
END
$$;
